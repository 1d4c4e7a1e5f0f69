"""MemoryTier keeps the tier contract, and does not copy."""

import pytest

from kvstore import LRU, InvalidRequest, MemoryTier, Metrics, NoEviction
from kvstore.testing import FRAME_BYTES, QuotaContract, TierContract, frame, frames, key, prompt


class TestMemoryTier(TierContract):
    def make_tier(self, tmp_path, capacity_bytes):
        return MemoryTier(capacity_bytes)


class TestMemoryTierQuotas(QuotaContract):
    def make_tier(self, tmp_path, capacity_bytes, quotas):
        return MemoryTier(capacity_bytes, quotas=quotas)


def test_a_frame_is_kept_without_copying_it():
    tier, mine = MemoryTier(10_000), bytearray(frame(key("a")))
    tier.put([(key("a"), mine)])
    assert tier.get(key("a")).obj is mine


def test_what_was_used_longest_ago_goes_first():
    tier, keys = MemoryTier(3 * FRAME_BYTES), [key(name) for name in "abc"]
    for each in keys:
        tier.put(frames([each]))
    tier.touch(keys[:1])
    tier.put(frames([key("d")]))
    assert [tier.match([each]) for each in keys] == [1, 0, 1]


def test_without_eviction_what_does_not_fit_is_declined():
    tier = MemoryTier(3 * FRAME_BYTES, NoEviction())
    assert tier.put(frames(prompt("a", 2))) == 2
    assert tier.put(frames(prompt("b", 2))) == 1
    assert tier.match(prompt("a", 2)) == 2


def test_evictions_are_counted():
    metrics = Metrics()
    tier = MemoryTier(2 * FRAME_BYTES, LRU(), metrics)
    tier.put(frames(prompt("a", 2)))
    tier.put(frames(prompt("b", 2)))
    assert metrics.snapshot()["chunks_evicted"] == 2


def test_entries_say_when_a_frame_was_saved_and_used():
    now = [100.0]
    tier = MemoryTier(10_000, clock=lambda: now[0])
    tier.put(frames([key("a")]))
    now[0] = 200.0
    tier.touch([key("a")])
    (entry,) = tier.entries()
    assert (entry.saved_at_s, entry.used_at_s, entry.hits) == (100.0, 200.0, 1)


@pytest.mark.parametrize("capacity_bytes", [0, -1])
def test_a_budget_must_be_positive(capacity_bytes):
    with pytest.raises(InvalidRequest):
        MemoryTier(capacity_bytes)
