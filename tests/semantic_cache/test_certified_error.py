"""The promise is kept under drift, and what it costs is in proportion."""

import random

from benchmarks.certified_error import MAX_WRONG, fixed, learned, measure, oracle, replay
from benchmarks.drifting_streams import Request
from semantic_cache.certifier import FixedThreshold


def test_few_of_fifty_streams_break_the_promise_while_they_drift():
    rows, outcomes = measure("learned", learned, 50, 4000)
    assert sum(one.worst > MAX_WRONG for one in outcomes) <= 0.05 * 50
    assert rows[-1]["drift"] == "all"
    assert rows[-1]["of the oracle's"] > 0.2


def test_a_fixed_threshold_breaks_it_often():
    rows, _ = measure("fixed, 0.9", fixed, 24, 4000)
    assert rows[-1]["broken"] > 0.1


def test_it_is_the_same_in_two_processes():
    (one, _), (two, _) = (measure("fixed, 0.9", fixed, 6, 500, processes) for processes in (1, 2))
    assert one == two


def test_an_oracle_serves_the_least_likely_wrong_as_long_as_the_budget_lasts():
    requests = [Request(None, 0.0)] * 100 + [Request(0.5, 0.5)] * 2 + [Request(0.9, 0.0)] * 100
    assert oracle(requests) == 101  # and two more that are as often wrong as right


def test_what_is_counted_is_what_was_served():
    requests = [Request(None, 0.0)] * 500 + [Request(0.95, 1.0)] * 10 + [Request(0.5, 1.0)] * 10
    outcome = replay(FixedThreshold(0.9), requests, random.Random(0))
    assert (outcome.answers, outcome.wrong, outcome.explored) == (510, 10, 0)
    assert outcome.worst == outcome.worst_expected == 10 / 510
    assert outcome.worst_window == 0.01
