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


def answer(breaker, *seconds):
    return [breaker.report(breaker.admit(), True, took_s) for took_s in seconds]


@pytest.fixture
def impatient(clock):
    return Breaker(window_s=10, pause_s=1, clock=clock, jitter=lambda: 1.0, slow_s=0.5, least_slow=3)


def test_it_opens_when_half_of_the_answers_were_slow(impatient):
    assert answer(impatient, 0.1, 0.9, 0.1, 0.9, 0.1) == [False] * 5
    assert answer(impatient, 0.9) == [True]
    assert impatient.is_open


def test_a_few_slow_answers_among_many_do_not_open_it(impatient):
    assert not any(answer(impatient, *([0.1, 0.1, 0.9] * 40)))


def test_slow_answers_long_ago_do_not_count(impatient, clock):
    for _ in range(20):
        assert answer(impatient, 0.9) == [False]
        clock.now_s += 6


def test_what_was_slow_before_it_opened_does_not_open_it_again(impatient, clock):
    assert answer(impatient, *[0.9] * 3) == [False, False, True]
    assert impatient.is_open
    clock.now_s = 1.0
    answer(impatient, 0.1)
    assert not impatient.is_open
    assert answer(impatient, 0.9, 0.9) == [False, False]


def test_one_call_that_got_no_answer_at_all_is_enough(breaker, clock):
    assert breaker.trip(breaker.admit())
    assert breaker.admit() is None
    clock.now_s = 1.0
    probe = breaker.admit()
    assert not breaker.trip(probe)
    clock.now_s = 2.5
    assert breaker.admit() is None  # the pause has doubled


def test_a_call_from_before_it_opened_trips_nothing(breaker, clock):
    old = breaker.admit()
    fail(breaker, 3)
    clock.now_s = 1.0
    breaker.report(breaker.admit(), True)
    assert not breaker.trip(old)
    assert not breaker.is_open
