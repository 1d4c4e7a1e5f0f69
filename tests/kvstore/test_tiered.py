"""Tiers keeps the tier contract, promotes what it finds below, and goes on when one tier fails."""

import logging

import pytest

from kvstore import DiskTier, MemoryTier, Metrics, NoTier, Tiers
from kvstore.testing import FRAME_BYTES, TierContract, frame, frames, key, prompt
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
    tiers = Tiers([faulty])
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
