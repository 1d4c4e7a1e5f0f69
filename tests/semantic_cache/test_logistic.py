"""A belief comes to what is true, forgets what was, and is not led astray by damaged state."""

import json
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore import CorruptFrame, InvalidRequest
from semantic_cache.logistic import LogisticBelief, Prior

FEATURES = st.lists(st.floats(-3, 3), min_size=2, max_size=2).map(np.array)
OUTCOMES = st.lists(st.tuples(FEATURES, st.floats(0, 1)), max_size=40)
ALWAYS = np.array([1.0, 0.0])


def belief(memory=0.99):
    return LogisticBelief(["one", "other"], [Prior(0.0, 1.0), Prior(0.5, 2.0)], memory)


def taught(outcomes, memory=0.99):
    result = belief(memory)
    for features, quality in outcomes:
        result.learn(features, quality)
    return result


@given(OUTCOMES, FEATURES, st.integers(0, 100))
def test_chances_are_chances_whatever_was_learned(outcomes, features, seed):
    learned = taught(outcomes)
    assert 0 <= learned.chance(features) <= 1
    assert 0 <= learned.least_chance(features, 2.0) <= learned.chance(features)


@given(st.integers(1, 9), st.integers(0, 5))
def test_a_chance_comes_to_the_share_of_good_outcomes(tenths, seed):
    chosen = Random(seed)
    learned = taught([(ALWAYS, float(chosen.random() < tenths / 10)) for _ in range(500)], memory=1.0)
    assert learned.chance(ALWAYS) == pytest.approx(tenths / 10, abs=0.08)


def test_what_changed_is_learned_anew():
    learned = taught([(ALWAYS, 1.0)] * 1000 + [(ALWAYS, 0.0)] * 100)
    assert learned.chance(ALWAYS) < 0.5


def test_more_evidence_is_surer():
    def doubt(held):
        return held.chance(ALWAYS) - held.least_chance(ALWAYS, 2.0)

    assert doubt(taught([(ALWAYS, 0.5)] * 100)) < doubt(belief()) / 2


@given(OUTCOMES)
def test_what_was_learned_survives_json(outcomes):
    learned, again = taught(outcomes), belief()
    again.restore(json.loads(json.dumps(learned.to_json())))
    assert again.to_json() == learned.to_json()


@pytest.mark.parametrize("quality", [-0.01, 1.01, float("nan")])
def test_a_quality_that_is_none_is_refused_and_teaches_nothing(quality):
    held = belief()
    with pytest.raises(InvalidRequest, match="quality"):
        held.learn(ALWAYS, quality)
    assert held.to_json() == belief().to_json()


@pytest.mark.parametrize(
    "damage",
    [
        {"names": ["one"]},
        {"mean": [1.0]},
        {"mean": [1.0, float("nan")]},
        {"mean": [10**400, 1.0]},
        {"mean": "far"},
        {"mean": None},
        {"precision": [[1.0, 2.0], [2.0, 1.0]]},
        {"precision": [[1.0, 0.5], [0.2, 1.0]]},
        {"precision": [[1.0]]},
        {"precision": [[1.0, 0.0], [0.0]]},
        {"precision": 1.0},
    ],
)
def test_damaged_state_is_refused_and_changes_nothing(damage):
    held = taught([(ALWAYS, 1.0)] * 3)
    before = held.to_json()
    with pytest.raises(CorruptFrame):
        held.restore(before | damage)
    assert held.to_json() == before
