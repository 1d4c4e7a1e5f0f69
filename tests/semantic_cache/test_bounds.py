"""What is proved of wrong labels is mistaken as rarely as it says, however often one looks and whatever drifts."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_cache.bounds import evidence, proves_less, share_at_most

DOUBT = 0.05


def test_nothing_wrong_among_a_few_hundred_proves_one_percent():
    assert not proves_less(0, 300, 0.01, DOUBT)
    assert proves_less(0, 350, 0.01, DOUBT)


def test_nothing_is_proved_by_nothing():
    assert not proves_less(0, 0, 0.5, DOUBT)
    assert share_at_most(0, 0, DOUBT) == 1


def test_evidence_is_the_mixture_it_claims_to_be():
    found, expected, lean, steps = 2.5, 9.0, 0.3, 200_000
    middles = [((step + 0.5) / steps) for step in range(steps)]
    integral = sum(t ** (found + lean - 1) * math.exp((1 - t) * expected) for t in middles) * lean / steps
    assert evidence(found, expected) == pytest.approx(integral, rel=1e-4)


@given(st.floats(0, 50), st.floats(0, 5000), st.floats(0.001, 0.5))
def test_what_is_proved_of_a_share_is_proved_of_greater_ones_and_with_fewer_wrong(found, labels, share):
    if proves_less(found, labels, share, DOUBT):
        assert proves_less(found / 2, labels, share, DOUBT)
        assert proves_less(found, labels, share * 1.5, DOUBT)
        assert proves_less(found, labels * 2, share, DOUBT)


@given(st.floats(0, 20), st.floats(1, 5000))
def test_the_most_a_share_can_be_is_where_proof_begins(found, labels):
    most = share_at_most(found, labels, DOUBT)
    assert most >= min(found / labels, 1)
    if most < 0.99:
        assert proves_less(found, labels, most * 1.001, DOUBT)
        assert not proves_less(found, labels, most * 0.999, DOUBT)


@pytest.mark.parametrize("shape", ["steady", "worse and better", "weighted"])
def test_looking_after_every_label_is_mistaken_in_one_of_twenty_at_most(shape):
    chosen, share, mistaken = random.Random(1), 0.03, 0
    for _ in range(400):
        found = expected = 0.0
        for label in range(1000):
            chance = share * (1 + math.sin(label / 50)) if shape == "worse and better" else share
            weight = chosen.random() if shape == "weighted" else 1.0
            found += weight * (chosen.random() < chance)
            expected += weight * chance
            if label % 10 == 9 and evidence(found, expected, 1 / DOUBT) >= 1 / DOUBT:
                mistaken += 1
                break
    assert mistaken <= 400 * DOUBT
