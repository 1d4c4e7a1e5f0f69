"""Leases: keys stay in them until they are released or over, and nobody holds more than there is room for."""

import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kvstore import InvalidRequest, MemoryTier
from kvstore import leases as module
from kvstore.leases import LONGEST_LEASE_S, Leases
from kvstore.testing import FRAME_BYTES, frames, key, prompt
from tests.clock import Clock


@pytest.fixture
def clock():
    return Clock(1000.0)


@pytest.fixture
def leases(clock):
    return Leases(clock)


def test_keys_are_leased_until_their_time_is_over(leases, clock):
    keys = prompt("a", 3)
    leases.grant(keys, 10)
    assert set(leases) == set(keys)
    clock.now_s += 9.9
    assert set(leases) == set(keys)
    clock.now_s += 0.2
    assert set(leases) == set()
    assert len(leases) == 0


def test_a_released_lease_is_over(leases):
    lease = leases.grant(prompt("a", 3), 10)
    assert leases.release(lease.id)
    assert set(leases) == set()
    assert not leases.release(lease.id)
    assert not leases.renew(lease.id, 10)


def test_a_renewed_lease_runs_from_then_on(leases, clock):
    lease = leases.grant([key("a")], 10)
    clock.now_s += 9
    assert leases.renew(lease.id, 10)
    clock.now_s += 9
    assert set(leases) == {key("a")}
    assert leases.renew(lease.id, 0.5)
    clock.now_s += 1
    assert set(leases) == set()
    assert not leases.renew(lease.id, 10)


def test_a_key_leased_twice_stays_until_both_are_over(leases, clock):
    first, second = leases.grant(prompt("a", 2), 10), leases.grant(prompt("a", 3), 20)
    leases.release(first.id)
    assert set(leases) == set(prompt("a", 3))
    leases.release(second.id)
    assert set(leases) == set()


def test_a_lease_is_its_holders_alone(leases):
    lease = leases.grant([key("a")], 10, "ours")
    assert not leases.release(lease.id, "theirs")
    assert not leases.release(lease.id)
    assert not leases.renew(lease.id, 10, "theirs")
    assert leases.renew(lease.id, 10, "ours")
    assert leases.release(lease.id, "ours")


@pytest.mark.parametrize("seconds", [0, -1, LONGEST_LEASE_S + 1, math.inf, math.nan])
def test_a_lease_of_a_strange_length_is_refused(leases, seconds):
    lease = leases.grant([key("a")], 1)
    with pytest.raises(InvalidRequest, match="a lease of"):
        leases.grant([key("a")], seconds)
    with pytest.raises(InvalidRequest, match="a lease of"):
        leases.renew(lease.id, seconds)


def test_too_much_is_not_leased_and_room_comes_back(leases, clock, monkeypatch):
    monkeypatch.setattr(module, "_MOST_KEYS", 10)
    first = leases.grant(prompt("a", 6), 10)
    assert leases.grant(prompt("b", 5), 10) is None
    assert leases.grant(prompt("b", 4), 5) is not None
    assert leases.grant([key("c")], 10) is None
    clock.now_s += 6
    assert leases.grant(prompt("b", 4), 10) is not None
    leases.release(first.id)
    assert leases.grant(prompt("c", 6), 10) is not None


def test_the_same_keys_leased_again_and_again_are_too_much_as_well(leases, monkeypatch):
    monkeypatch.setattr(module, "_MOST_KEYS", 10)
    granted = [leases.grant(prompt("a", 3), 10) for _ in range(5)]
    assert [lease is not None for lease in granted] == [True, True, True, False, False]
    assert len(leases) == 3


def test_a_tier_given_leases_drops_what_is_over(leases, clock):
    keys, tier = prompt("a", 2), MemoryTier(3 * FRAME_BYTES)
    tier.spared = leases
    tier.put(frames(keys))
    leases.grant(keys, 10)
    for number in range(4):
        assert tier.put(frames([key(f"other {number}")])) == 1
    assert tier.match(keys) == 2
    clock.now_s += 11
    tier.put(frames(prompt("b", 3)))
    assert tier.match(keys[:1]) + tier.match(keys[1:]) == 0


def test_threads_lease_and_release_what_is_theirs(leases):
    def hammer(name):
        for number in range(200):
            lease = leases.grant([key("shared"), key(f"{name} {number}")], 60, name)
            assert key("shared") in set(leases)
            assert leases.release(lease.id, name)

    with ThreadPoolExecutor(4) as threads:
        for finished in [threads.submit(hammer, str(number)) for number in range(4)]:
            finished.result()
    assert set(leases) == set()
    assert len(leases) == 0


class LeasesAgainstAList(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.leases = Leases(self.clock)
        self.model = []
        """Of each lease its id, keys, and end."""

    def alive(self):
        return [lease for lease in self.model if lease[2] > self.clock.now_s]

    @rule(names=st.lists(st.integers(0, 3), min_size=1, max_size=3), seconds=st.floats(0.5, 20))
    def grant(self, names, seconds):
        keys = [key(str(name)) for name in names]
        self.model.append([self.leases.grant(keys, seconds).id, keys, self.clock.now_s + seconds])

    @rule(place=st.integers(0, 100), seconds=st.floats(0.5, 20))
    def renew(self, place, seconds):
        if self.model:
            lease = self.model[place % len(self.model)]
            is_alive = lease in self.alive()
            assert self.leases.renew(lease[0], seconds) == is_alive
            if is_alive:
                lease[2] = self.clock.now_s + seconds

    @rule(place=st.integers(0, 100))
    def release(self, place):
        if self.model:
            lease = self.model[place % len(self.model)]
            assert self.leases.release(lease[0]) == (lease in self.alive())
            self.model.remove(lease)

    @rule(seconds=st.floats(0, 15))
    def wait(self, seconds):
        self.clock.now_s += seconds

    @invariant()
    def what_is_leased_is_what_is_alive(self):
        assert set(self.leases) == {each for _, keys, _ in self.alive() for each in keys}
        assert len(self.leases) == len(self.alive())
        assert sum(self.leases._times.values(), 0) == self.leases._num_keys
        assert Counter(self.leases._times) == Counter(each for _, keys, _ in self.alive() for each in keys)


TestLeasesAgainstAList = LeasesAgainstAList.TestCase
TestLeasesAgainstAList.settings = settings(max_examples=30, stateful_step_count=30)
