"""Computed again is what is shown often, falls short and costs; what goes is what spares least by the byte."""

import json
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore import CorruptFrame, InvalidRequest
from semantic_cache.example import Past
from semantic_cache.replay import HOURLY, Replay
from tests.clock import Clock

HOUR_S = 3600.0
SHARES = st.floats(0, 1)
USES = st.lists(
    st.tuples(st.integers(0, 5), SHARES, SHARES, st.floats(0, 100), st.floats(-HOUR_S, 10 * HOUR_S)), max_size=30
)
HELD = st.dictionaries(st.integers(0, 5), st.tuples(st.integers(1, 1000), st.floats(0.01, 100)), max_size=6)


def replay_of(held, uses=()):
    clock = Clock(1e9)
    replay = Replay(clock)
    for document_id, (size_bytes, compute_s) in held.items():
        replay.add(document_id, size_bytes, compute_s)
    for document_id, quality, without, compute_s, later_s in uses:
        clock.now_s += later_s
        replay.used(document_id, quality, without, compute_s)
    return replay, clock


@given(HELD, USES, st.floats(0, 200))
def test_what_is_due_fits_the_budget_and_pays(held, uses, budget_s):
    replay, _ = replay_of(held, uses)
    due = replay.due(budget_s)
    assert len(set(due)) == len(due)
    assert sum(held[document_id][1] for document_id in due) <= budget_s + 1e-6


def test_what_is_shown_often_falls_short_and_costs_is_due_first():
    held = dict.fromkeys(range(4), (100, 1.0))
    poor, fair, cheap, rare = 0, 1, 2, 3
    uses = []
    for _ in range(10):
        uses += [(poor, 0.0, 0.0, 1.0, 0.0), (fair, 0.6, 0.0, 1.0, 0.0), (cheap, 0.0, 0.0, 0.2, 0.0)]
    replay, _ = replay_of(held, [*uses, (rare, 0.0, 0.0, 1.0, 0.0)])
    assert replay.due(100.0) == [poor, fair, cheap]  # once is not worth another time
    assert replay.due(2.0) == [poor, fair]


def test_what_answers_well_is_never_due():
    replay, _ = replay_of({1: (10, 1.0)}, [(1, 1.0, 0.0, 5.0, 0.0)] * 100)
    assert replay.due(1e6) == []


def test_what_was_computed_again_is_not_due_and_has_no_past():
    replay, _ = replay_of({1: (10, 1.0)}, [(1, 0.0, 0.5, 5.0, 0.0)] * 10)
    assert replay.due(10.0) == [1]
    replay.replayed(1, 2)
    assert replay.due(10.0) == []
    assert (replay.past(2), 1 in replay, 2 in replay) == (Past(), False, True)


def test_what_cannot_be_computed_again_is_no_longer_held():
    replay, _ = replay_of({1: (10, 1.0)}, [(1, 0.0, 0.5, 5.0, 0.0)] * 10)
    replay.replayed(1, None)
    replay.replayed(7, 8)
    assert not len(replay)


def test_all_that_is_counted_fades_by_the_hour():
    replay, clock = replay_of({1: (10, 1.0)}, [(1, 0.0, 0.5, 5.0, 0.0)])
    before = replay.past(1)
    clock.now_s += HOUR_S
    assert replay.past(1) == Past(pytest.approx(HOURLY * before.tried), pytest.approx(HOURLY * before.lift))
    clock.now_s += 100 * HOUR_S
    assert replay.due(10.0) == []


def test_at_a_steady_rate_ten_hours_of_uses_are_counted():
    replay, clock = replay_of({1: (10, 1.0)})
    for _ in range(300):
        replay.used(1, 0.5, 0.5, 1.0)
        clock.now_s += HOUR_S / 2
    assert replay.past(1).tried == pytest.approx(2 * 10, rel=0.1)


def test_a_clock_that_goes_back_takes_nothing_away_and_fading_goes_on_from_there():
    replay, clock = replay_of({1: (10, 1.0)}, [(1, 0.5, 0.0, 1.0, 0.0)])
    clock.now_s -= 365 * 24 * HOUR_S
    assert replay.past(1) == Past(1.0, 0.5)
    replay.used(1, 0.5, 0.0, 1.0)
    assert replay.past(1) == Past(2.0, 1.0)
    clock.now_s += HOUR_S
    assert replay.past(1) == Past(pytest.approx(HOURLY * 2.0), pytest.approx(HOURLY * 1.0))


@given(HELD, USES, st.integers(0, 3000))
def test_what_is_left_fits_and_no_more_goes_than_must(held, uses, capacity_bytes):
    replay, _ = replay_of(held, uses)
    dropped = replay.surplus(capacity_bytes)
    left = sum(size for document_id, (size, _) in held.items() if document_id not in dropped)
    assert left <= capacity_bytes
    assert not dropped or left + held[dropped[-1]][0] > capacity_bytes
    replay.remove(dropped)
    assert replay.surplus(capacity_bytes) == []


@given(HELD, st.integers(0, 3000))
def test_what_is_kept_spares_as_much_as_the_best_choice_but_for_one_example(held, capacity_bytes):
    """New examples spare what they took to compute."""
    replay, _ = replay_of(held)
    dropped = replay.surplus(capacity_bytes)
    kept = sum(compute_s for document_id, (_, compute_s) in held.items() if document_id not in dropped)
    best = max(
        sum(compute_s for _, compute_s in chosen)
        for count in range(len(held) + 1)
        for chosen in combinations(held.values(), count)
        if sum(size for size, _ in chosen) <= capacity_bytes
    )
    assert kept + max((held[each][1] for each in dropped), default=0.0) >= best - 1e-9


def test_what_did_harm_goes_before_what_is_new():
    replay, _ = replay_of({1: (10, 1.0), 2: (10, 1.0)}, [(1, 0.0, 0.9, 5.0, 0.0)] * 3)
    assert replay.surplus(10) == [1]


@given(HELD, USES)
def test_accounts_survive_json(held, uses):
    replay, clock = replay_of(held, uses)
    again = Replay(clock)
    again.restore(json.loads(json.dumps(replay.to_json())))
    assert again.to_json() == replay.to_json()
    assert again.due(50.0) == replay.due(50.0)
    assert again.surplus(500) == replay.surplus(500)


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        {"1": []},
        {"1": [1, 2, 3]},
        {"one": [10, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]},
        {"1": [0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]},
        {"1": [10, 1.0, 0.0, float("nan"), 0.0, 0.0, 0.0]},
        {"1": [10**400, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]},
        {"1": [10, "1", 0.0, 0.0, 0.0, 0.0, 0.0]},
        {"1": [10, 1.0, 0.0, True, 0.0, 0.0, 0.0]},
    ],
)
def test_damaged_accounts_are_refused_and_change_nothing(said):
    replay, _ = replay_of({1: (10, 1.0)})
    before = replay.to_json()
    with pytest.raises(CorruptFrame):
        replay.restore(said)
    assert replay.to_json() == before


def test_ids_that_are_not_held_are_no_concern():
    replay, _ = replay_of({})
    replay.used(7, 1.0, 0.0, 1.0)
    replay.replayed(7, 8)
    replay.remove([7])
    assert replay.past(7) == Past()
    assert len(replay) == 0


@pytest.mark.parametrize(
    ("quality", "without", "compute_s"), [(1.1, 0, 1), (0, -1, 1), (0, 0, -1), (float("nan"), 0, 1)]
)
def test_uses_that_make_no_sense_are_refused(quality, without, compute_s):
    replay, _ = replay_of({1: (10, 1.0)})
    with pytest.raises(InvalidRequest):
        replay.used(1, quality, without, compute_s)


@pytest.mark.parametrize(("size_bytes", "compute_s"), [(0, 1.0), (10, 0.0), (10, float("inf"))])
def test_examples_of_no_size_or_cost_are_refused(size_bytes, compute_s):
    with pytest.raises(InvalidRequest):
        Replay(Clock()).add(1, size_bytes, compute_s)
