"""The load factor: measured, smoothed, stepped, or told."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore import InvalidRequest
from semantic_cache.load import LoadFactor, LoadTargets
from tests.clock import Clock

TARGETS = LoadTargets(latency_p95_s=2.0, calls_in_flight=10)


def load_factor(clock):
    return LoadFactor(TARGETS, window_s=60, smoothing_s=10, step=0.05, clock=clock)


def call(load, seconds, times=1):
    for _ in range(times):
        load.began()
        load.ended(seconds)


def after(load, clock, seconds):
    """Its value when it was asked for once a second meanwhile."""
    for _ in range(seconds):
        clock.now_s += 1
        load.value  # noqa: B018
    return load.value


def test_a_model_within_its_targets_is_not_loaded():
    clock = Clock()
    load = load_factor(clock)
    call(load, 1.9, 100)
    for _ in range(10):
        load.began()
    assert after(load, clock, 30) == 0


def test_latencies_above_the_target_are_load_and_their_end_is_none():
    clock = Clock()
    load = load_factor(clock)
    call(load, 3.0, 100)
    assert after(load, clock, 50) == pytest.approx(0.5, abs=0.06)
    assert after(load, clock, 120) == 0, "what is older than the window says nothing"


def test_calls_in_flight_are_load_before_any_of_them_ends():
    clock = Clock()
    load = load_factor(clock)
    for _ in range(40):
        load.began()
    assert after(load, clock, 60) > 0.94
    for _ in range(40):
        load.ended(None)
    assert after(load, clock, 60) == 0


def test_one_slow_call_among_many_is_no_load():
    clock = Clock()
    load = load_factor(clock)
    call(load, 1.0, 50)
    call(load, 500.0, 1)
    assert after(load, clock, 20) == 0


def test_a_few_calls_say_nothing():
    clock = Clock()
    load = load_factor(clock)
    call(load, 500.0, 7)
    assert after(load, clock, 20) == 0


def test_small_changes_do_not_move_it():
    clock = Clock()
    load = load_factor(clock)
    for _ in range(15):
        load.began()
    settled = after(load, clock, 200)
    seen = set()
    for turn in range(100):
        (load.began if turn % 2 else lambda: load.ended(None))()
        seen.add(after(load, clock, 1))
    assert seen == {settled}


def test_what_is_told_counts_until_its_time_is_over():
    clock = Clock()
    load = load_factor(clock)
    load.tell(0.7, for_s=30)
    assert load.value == 0.7
    clock.now_s = 29.9
    assert load.value == 0.7
    clock.now_s = 30
    assert load.value == 0
    load.tell(1)
    load.tell(0)
    assert load.value == 0


@pytest.mark.parametrize(("load", "for_s"), [(1.1, 1), (-0.1, 1), (math.nan, 1), (0.5, 0), (0.5, 1e9), (0.5, math.nan)])
def test_a_load_that_is_none_is_refused(load, for_s):
    with pytest.raises(InvalidRequest, match="allowed"):
        load_factor(Clock()).tell(load, for_s)


def test_a_clock_that_goes_back_changes_nothing():
    clock = Clock(1000)
    load = load_factor(clock)
    for _ in range(40):
        load.began()
    before = after(load, clock, 60)
    clock.now_s = 5
    assert load.value == before


@given(
    st.lists(
        st.tuples(st.floats(0, 30), st.sampled_from(["began", "ended", "failed"]), st.floats(0, 1e6)),
        max_size=60,
    )
)
def test_it_is_always_from_none_to_full(events):
    clock = Clock()
    load = load_factor(clock)
    for passed_s, event, seconds in events:
        clock.now_s += passed_s
        if event == "began":
            load.began()
        else:
            load.ended(seconds if event == "ended" else None)
        assert 0 <= load.value <= 1
        assert load.value == load.value
