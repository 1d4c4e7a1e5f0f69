"""Durations as people write them."""

import pytest

from connectors.duration import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("1.5min", 90), ("12 h", 43200), ("7d", 604800), ("2w", 1209600)]
)
def test_a_number_and_a_unit_are_seconds(text: str, seconds: float):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "7 days", "1e3s", "\u0667d", "9" * 400 + "d"])
def test_anything_else_is_an_error_that_gives_an_example(text: str):
    with pytest.raises(ValueError, match="not a duration such as"):
        parse_duration(text)
