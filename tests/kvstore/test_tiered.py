"""Tiers keeps the tier contract, promotes what it finds below, and goes on when one tier fails."""

import logging
import threading
from functools import partial

import pytest

from kvstore import Breaker, CostModel, DiskTier, MemoryTier, Metrics, NoTier, Tiers, guard
from kvstore.testing import FRAME_BYTES, TierContract, frame, frames, key, prompt
from tests.clock import Clock
from tests.kvstore.faulty import EVERYTHING, FaultyTier


class TestTiersOfMemoryAndDisk(TierContract):
    copies = 2

    def make_tier(self, tmp_path, capacity_bytes):
        return Tiers([MemoryTier(capacity_bytes), DiskTier(tmp_path / "disk", capacity_bytes)])


class TestTiersOfOne(TierContract):
    def make_tier(self, tmp_path, capacity_bytes):
        return Tiers([MemoryTier(capacity_bytes)])


def test_a_frame_found_below_is_copied_to_the_tiers_above():
    fast, middle, slow = (MemoryTier(10_000) for _ in range(3))
    tiers = Tiers([fast, middle, slow])
    slow.put(frames([key("a")]))
    assert tiers.get(key("a")) == frame(key("a"))
    assert fast.match([key("a")]) == middle.match([key("a")]) == 1


def test_a_prompt_held_in_parts_by_several_tiers_matches_whole():
    fast, slow, keys = MemoryTier(10_000), MemoryTier(10_000), prompt("a", 5)
    fast.put(frames([keys[0], keys[2], keys[4]]))
    slow.put(frames([keys[1], keys[3]]))
    assert Tiers([fast, slow]).match(keys) == 5
    assert Tiers([slow, fast]).match(keys) == 5


def test_a_put_is_as_long_as_the_roomiest_tier_made_it():
    tiers = Tiers([MemoryTier(2 * FRAME_BYTES), MemoryTier(4 * FRAME_BYTES), NoTier()])
    assert tiers.put(frames(prompt("a", 5))) == 4
    assert tiers.match(prompt("a", 5)) == 4


def test_no_tiers_at_all_hold_nothing():
    tiers = Tiers([])
    assert tiers.put(frames([key("a")])) == 0
    assert tiers.get(key("a")) is None


@pytest.mark.parametrize("order", [1, -1])
def test_a_tier_that_fails_at_everything_is_as_if_it_were_not_there(order):
    metrics = Metrics()
    tiers = Tiers([FaultyTier(10_000, *EVERYTHING), MemoryTier(10_000)][::order], metrics)
    keys = prompt("a", 2)
    assert tiers.put(frames(keys)) == 2
    assert tiers.match(keys) == 2
    assert tiers.get(keys[0]) == frame(keys[0])
    tiers.touch(keys)
    tiers.quarantine(keys[1], "for a test")
    assert [entry.key for entry in tiers.entries()] == keys[:1]
    assert tiers.size_bytes == FRAME_BYTES
    assert tiers.delete(keys[0])
    assert metrics.snapshot()["tier_unavailable"] >= 7


def test_a_failure_is_logged_once_until_that_works_again(caplog):
    faulty = FaultyTier(10_000, "put")
    tiers = Tiers([faulty], breaker=partial(Breaker, failures=100))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert tiers.put(frames([key("a")])) == 0
            assert tiers.match([key("a")]) == 0  # reads go on, and do not make the log forget
        assert len(caplog.records) == 1
        faulty.refused.clear()
        assert tiers.put(frames([key("a")])) == 1
        faulty.refused.add("put")
        tiers.put(frames([key("a")]))
    assert len(caplog.records) == 2


def guarded(clock):
    return partial(Breaker, failures=3, pause_s=1.0, clock=clock, jitter=lambda: 1.0)


def test_a_tier_that_keeps_failing_is_a_miss_without_being_asked_and_is_asked_again_later():
    clock, faulty, metrics = Clock(), FaultyTier(10_000, "match"), Metrics()
    faulty.put(frames([key("a")]))
    tiers = Tiers([faulty], metrics, breaker=guarded(clock))
    for _ in range(10):
        assert tiers.match([key("a")]) == 0
    counts = metrics.snapshot()
    assert (counts["tier_unavailable"], counts["tier_skipped"], counts["breakers_opened"]) == (3, 7, 1)
    faulty.refused.clear()
    assert tiers.match([key("a")]) == 0  # still open
    clock.now_s = 1.1
    assert tiers.match([key("a")]) == 1
    assert tiers.match([key("a")]) == 1


def test_a_tier_that_fails_at_writing_is_read_on():
    faulty = FaultyTier(10_000)
    tiers = Tiers([faulty], breaker=guarded(Clock()))
    tiers.put(frames([key("a")]))
    faulty.refused.add("put")
    for _ in range(5):
        assert tiers.put(frames([key("b")])) == 0
    assert tiers.get(key("a")) == frame(key("a"))


def test_a_tier_that_is_slow_again_and_again_is_not_asked(monkeypatch):
    monkeypatch.setattr(guard, "_SLOW_S", 0.0)
    tier, metrics = MemoryTier(10_000), Metrics()
    tiers = Tiers([tier], metrics, breaker=guarded(Clock()))
    tiers.put(frames([key("a")]))
    assert [tiers.get(key("a")) is None for _ in range(5)] == [False] * 3 + [True] * 2
    assert metrics.snapshot()["breakers_opened"] == 1


class GatedTier(MemoryTier):
    """A tier whose gets wait until a test lets them go on."""

    name = "gated"

    def __init__(self, capacity_bytes):
        super().__init__(capacity_bytes)
        self.gate = threading.Event()

    def get(self, key):
        assert self.gate.wait(10)
        return super().get(key)


def test_prefetched_frames_are_in_the_fastest_tier_without_anybody_waiting():
    fast, slow, metrics = MemoryTier(10_000), GatedTier(10_000), Metrics()
    keys = prompt("a", 4)
    slow.put(frames(keys))
    with Tiers([fast, slow], metrics) as tiers:
        assert tiers.prefetch([*keys, key("nowhere")]) == 5
        assert fast.match(keys) == 0
        slow.gate.set()
        assert tiers.get(keys[0]) == frame(keys[0])  # meanwhile
        assert tiers.background.flush(10)
        assert fast.match(keys) == 4
        assert tiers.prefetch(keys) == 4
        assert tiers.background.flush(10)
    assert metrics.snapshot()["chunks_prefetched"] in (3, 4)  # the one asked for may have come by itself


def test_a_prefetch_there_is_no_room_for_is_dropped_and_counted(monkeypatch):
    slow, metrics = GatedTier(1_000_000), Metrics()
    keys = prompt("a", 300)
    with Tiers([MemoryTier(1_000_000), slow], metrics) as tiers:
        accepted = tiers.prefetch(keys)
        assert 0 < accepted < 300
        assert metrics.snapshot()["prefetches_dropped"] == 300 - accepted
        slow.gate.set()


def test_a_prefetch_from_a_faulty_tier_is_a_miss():
    fast, faulty, metrics = MemoryTier(10_000), FaultyTier(10_000), Metrics()
    faulty.put(frames([key("a")]))
    faulty.refused.add("get")
    with Tiers([fast, faulty], metrics) as tiers:
        assert tiers.prefetch([key("a")]) == 1
        assert tiers.background.flush(10)
    assert fast.match([key("a")]) == metrics.snapshot()["chunks_prefetched"] == 0


def test_every_get_is_measured():
    cost, slow = CostModel(), MemoryTier(10_000)
    slow.put(frames(prompt("a", 3)))
    tiers, measured = Tiers([MemoryTier(10_000), slow], cost=cost), []
    cost.got = lambda tier, num_bytes, seconds: measured.append((tier, num_bytes, seconds > 0))
    for chunk in prompt("a", 3):
        tiers.get(chunk)
    assert measured == [("memory", FRAME_BYTES, True)] * 3


def test_runs_say_which_tier_holds_what():
    fast, slow, keys = FaultyTier(10_000), MemoryTier(10_000), prompt("a", 5)
    fast.put(frames(keys[:2]))
    slow.put(frames(keys[:4]))
    assert Tiers([fast, slow]).runs(keys) == [("faulty", 2), ("memory", 2)]
