"""Durations as people write them: "45s", "90min", "12h", "7d"."""

from __future__ import annotations

import re

_UNITS_S = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_WRITTEN = re.compile(rf"(\d{{1,9}}(?:\.\d{{1,9}})?)\s*({'|'.join(_UNITS_S)})", re.ASCII)


def parse_duration(text: str) -> float:
    """The seconds that `text` says. Raises ValueError when the text says anything else."""
    written = _WRITTEN.fullmatch(text.strip())
    if written is None:
        raise ValueError(f"{text!r} is not a duration such as 45s, 90min, 12h, 7d or 2w")
    number, unit = written.groups()
    return float(number) * _UNITS_S[unit]
