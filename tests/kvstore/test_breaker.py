"""The breaker opens after a few failures, lets exactly one call through at a time, and closes when that succeeds."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from kvstore import Breaker
from tests.clock import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker(failures=3, window_s=10, pause_s=1, longest_pause_s=3, clock=clock, jitter=lambda: 1.0)


def fail(breaker, times=1):
    return [breaker.report(breaker.admit(), False) for _ in range(times)]


def test_it_opens_at_the_third_failure_within_the_window(breaker, clock):
    assert fail(breaker, 3) == [False, False, True]
    assert breaker.admit() is None


def test_failures_far_apart_do_not_open_it(breaker, clock):
    for _ in range(10):
        assert fail(breaker) == [False]
        clock.now_s += 6


def test_one_call_finds_out_and_its_success_closes_it(breaker, clock):
    fail(breaker, 3)
    clock.now_s = 1.0
    probe = breaker.admit()
    assert probe is not None
    assert breaker.admit() is None
    breaker.report(probe, True)
    assert fail(breaker, 2) == [False, False]
    assert breaker.admit() is not None


def test_the_pause_grows_with_every_failed_probe_up_to_a_longest(breaker, clock):
    fail(breaker, 3)
    pauses = []
    for _ in range(4):
        began_s = clock.now_s
        while breaker.admit() is None:
            clock.now_s += 0.25
        pauses.append(clock.now_s - began_s)
        breaker.report(breaker._era, False)
    assert pauses[0] == 1
    assert pauses == sorted(pauses)
    assert pauses[-1] == 3


def test_a_probe_that_never_comes_back_does_not_keep_it_open_for_ever(breaker, clock):
    fail(breaker, 3)
    clock.now_s = 1.0
    assert breaker.admit() is not None
    clock.now_s += 3
    probe = breaker.admit()
    assert probe is not None
    breaker.report(probe, True)
    assert breaker.admit() is not None


@pytest.mark.parametrize("outcome", [True, False])
def test_calls_from_before_it_opened_say_nothing_about_what_came_after(breaker, clock, outcome):
    early = breaker.admit()
    fail(breaker, 3)
    breaker.report(early, outcome)
    assert breaker.admit() is None
    clock.now_s = 1.0
    assert breaker.admit() is not None
    breaker.report(early, outcome)
    assert breaker.admit() is None


def test_of_many_threads_that_ask_at_once_one_is_let_through(breaker, clock):
    fail(breaker, 3)
    clock.now_s, together = 1.0, threading.Barrier(20)

    def ask(_):
        together.wait(10)
        return breaker.admit()

    with ThreadPoolExecutor(20) as threads:
        tickets = list(threads.map(ask, range(20)))
    assert sum(ticket is not None for ticket in tickets) == 1


def test_pauses_are_jittered():
    clock = Clock()
    breakers = [Breaker(failures=1, pause_s=1, clock=clock) for _ in range(50)]
    for breaker in breakers:
        fail(breaker)
    clock.now_s = 1.0
    admitted = sum(breaker.admit() is not None for breaker in breakers)
    assert 0 < admitted < 50
