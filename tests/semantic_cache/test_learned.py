"""What was learned survives JSON to the last digit, adds up, and is refused where it is not what was written."""

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore.errors import InvalidRequest
from semantic_cache.error_budget import ErrorBudget
from semantic_cache.learned_threshold import LearnedThreshold

EVENTS = st.lists(
    st.one_of(st.none(), st.tuples(st.sampled_from(["a", "b"]), st.floats(0, 1), st.booleans())), max_size=200
)


def learned_from(events, seed=0):
    budget = ErrorBudget(max_wrong=0.2, random=random.Random(seed).random)
    for event in events:
        if event is None:
            LearnedThreshold(budget, "a").count_exact()
            continue
        category, score, right = event
        certifier = LearnedThreshold(budget, category)
        certifier.observe(score, right, certifier.choose(score))
    return budget


def certified(budget):
    return [LearnedThreshold(budget, category).certified for category in "ab"]


@given(EVENTS)
def test_what_was_learned_comes_back_from_json(events):
    budget = learned_from(events)
    budget.spend()
    again = ErrorBudget(max_wrong=0.2)
    again.learn(budget.to_json())
    assert json.loads(again.to_json()) == json.loads(budget.to_json())
    assert certified(again) == certified(budget)


@given(EVENTS, EVENTS)
def test_what_two_processes_learned_adds_up_in_any_order(some, more):
    one, other = learned_from(some).to_json(), learned_from(more, 1).to_json()
    sums = []
    for first, second in ((one, other), (other, one)):
        budget = ErrorBudget(max_wrong=0.2)
        budget.learn(first)
        budget.learn(second)
        sums.append(budget)
    assert certified(sums[0]) == pytest.approx(certified(sums[1])) or certified(sums[0]) == certified(sums[1])
    labels = [sum(one.observed for one in certified(learned_from(events))) for events in (some, more)]
    assert sum(one.observed for one in certified(sums[0])) == sum(labels)


def test_a_restart_serves_what_was_served():
    budget = ErrorBudget()
    certifier = LearnedThreshold(budget, "support")
    for _ in range(1000):
        certifier.calibrate(0.9, True)
    again = ErrorBudget()
    again.learn(budget.to_json())
    assert LearnedThreshold(again, "support").certified.threshold <= 0.9
    stricter = ErrorBudget(max_wrong=0.001)
    stricter.learn(budget.to_json())
    assert LearnedThreshold(stricter, "support").certified.threshold == math.inf


@given(st.data())
def test_damaged_text_is_refused_or_is_as_good_as_any(data):
    text = learned_from([("a", 0.9, True)] * 50 + [None] * 20).to_json()
    start = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:start] + data.draw(st.text(max_size=3)) + text[start + data.draw(st.integers(0, 20)) :]
    budget = ErrorBudget()
    try:
        budget.learn(damaged)
    except InvalidRequest:
        assert json.loads(budget.to_json())["categories"] == {}
    else:
        assert all(math.isnan(one.wrong) or 0 <= one.wrong <= 1 for one in certified(budget))


@pytest.mark.parametrize(
    "change",
    [
        {"format": 1},
        {"requests": -1},
        {"requests": True},
        {"categories": []},
        {"categories": {"a": {}}},
        {"categories": {"a": 1}},
    ],
)
def test_what_says_too_little_is_refused(change):
    read = json.loads(learned_from([("a", 0.9, True)]).to_json())
    with pytest.raises(InvalidRequest, match="learn anew"):
        ErrorBudget().learn(json.dumps(read | change))


@pytest.mark.parametrize(("name", "value"), [("harm", math.nan), ("wrong", [9] * 64), ("since", 7), ("seen", [0] * 63)])
def test_counts_that_cannot_be_are_refused(name, value):
    read = json.loads(learned_from([("a", 0.9, True)]).to_json())
    read["categories"]["a"][name] = value
    with pytest.raises(InvalidRequest, match="learn anew"):
        ErrorBudget().learn(json.dumps(read))
