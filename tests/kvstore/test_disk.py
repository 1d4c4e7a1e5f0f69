"""Tiers on disk keep the tier contract, and what they acknowledged is there when they are opened again."""

import threading
import time

import pytest

from kvstore import DiskReader, DiskTier, InvalidRequest, LmdbTier, Metrics, NoEviction, disk, disk_log, lmdb_tier
from kvstore.testing import FRAME_BYTES, QuotaContract, TierContract, frame, frames, key, prompt


class TestDiskTier(TierContract):
    def make_tier(self, tmp_path, capacity_bytes):
        return DiskTier(tmp_path, capacity_bytes)


class TestDiskTierOfSmallSegments(TierContract):
    """As above, with a commit for every second frame, files that hold three, and little room beyond what is held."""

    @pytest.fixture(autouse=True)
    def small_segments(self, monkeypatch):
        monkeypatch.setattr(disk_log, "_GROUP_BYTES", 16_384)
        monkeypatch.setattr(disk, "_MIN_SEGMENT_BYTES", 24_576)
        monkeypatch.setattr(disk, "_EXTRA_BYTES", 400_000)

    def make_tier(self, tmp_path, capacity_bytes):
        return DiskTier(tmp_path, capacity_bytes)


class TestDiskTierQuotas(QuotaContract):
    def make_tier(self, tmp_path, capacity_bytes, quotas):
        return DiskTier(tmp_path, capacity_bytes, quotas=quotas)


class TestLmdbTier(TierContract):
    def make_tier(self, tmp_path, capacity_bytes):
        return LmdbTier(tmp_path, capacity_bytes)


class TestLmdbTierInSmallGroups(TierContract):
    """As above, with a transaction for every second frame of a put."""

    @pytest.fixture(autouse=True)
    def small_groups(self, monkeypatch):
        monkeypatch.setattr(lmdb_tier, "_GROUP_BYTES", 2 * FRAME_BYTES)

    def make_tier(self, tmp_path, capacity_bytes):
        return LmdbTier(tmp_path, capacity_bytes)


class TestLmdbTierQuotas(QuotaContract):
    def make_tier(self, tmp_path, capacity_bytes, quotas):
        return LmdbTier(tmp_path, capacity_bytes, quotas=quotas)


def test_frames_are_there_after_reopening(tmp_path, durable):
    keys = prompt("a", 3)
    with durable(tmp_path, 100_000) as tier:
        tier.put(frames(keys))
        tier.delete(keys[2])
    with durable(tmp_path, 100_000) as tier:
        assert tier.match(keys) == 2
        assert [tier.get(each) for each in keys] == [frame(keys[0]), frame(keys[1]), None]
        assert tier.size_bytes == 2 * FRAME_BYTES


def test_a_lowered_budget_evicts_when_opening(tmp_path, durable):
    with durable(tmp_path, 10 * FRAME_BYTES) as tier:
        tier.put(frames(prompt("old", 4)))
        tier.put(frames(prompt("new", 4)))
    metrics = Metrics()
    with durable(tmp_path, 5 * FRAME_BYTES, metrics=metrics) as tier:
        assert tier.match(prompt("new", 4)) == 4
        assert tier.match(prompt("old", 4)) == 1
        assert tier.size_bytes == 5 * FRAME_BYTES
        assert [tier.get(each) for each in prompt("old", 4)[1:]] == [None] * 3
    assert metrics.snapshot()["chunks_evicted"] == 3


def test_a_raised_budget_gives_room_when_opening(tmp_path, durable):
    with durable(tmp_path, 3 * FRAME_BYTES) as tier:
        assert tier.put(frames(prompt("a", 5))) == 3
    with durable(tmp_path, 10**9) as tier:
        assert tier.put(frames(prompt("a", 5))) == 5


def test_the_order_of_use_survives_reopening(tmp_path, durable):
    now = [1_795_000_000.0]
    with durable(tmp_path, 10 * FRAME_BYTES, clock=lambda: now[0]) as tier:
        for name in ("a", "b", "c"):
            now[0] += 1
            tier.put(frames(prompt(name, 3)))
        now[0] += 1
        tier.touch(prompt("a", 3))
    with durable(tmp_path, 10 * FRAME_BYTES) as tier:
        gone = []
        for number in range(7):
            held = {name: tier.match(prompt(name, 3)) for name in "abc"}
            tier.put(frames([key(f"new {number}")]))
            gone += [name for name in "abc" if tier.match(prompt(name, 3)) < held[name]]
    assert gone == ["b", "b", "b", "c", "c", "c"]


@pytest.mark.parametrize("touched", [False, True])
def test_a_prefix_does_not_go_before_its_suffix_after_reopening(tmp_path, durable, touched):
    keys = prompt("a", 30)
    with durable(tmp_path, 40 * FRAME_BYTES, clock=lambda: 1_795_000_000.0) as tier:
        tier.put(frames(keys[:20]))
        tier.put(frames(keys[20:]), prefix=keys[:20])
        if touched:
            tier.touch(keys)
    with durable(tmp_path, 12 * FRAME_BYTES) as tier:
        assert tier.match(keys) == 12


def test_hits_that_are_pending_when_closing_are_kept(tmp_path, durable):
    keys = prompt("a", 2)
    with durable(tmp_path, 100_000, clock=lambda: 100.0) as tier:
        tier.put(frames(keys))
    with durable(tmp_path, 100_000, clock=lambda: 200.0) as tier:
        tier.touch(keys)
        tier.touch(keys[:1])
    with durable(tmp_path, 100_000) as tier:
        entries = {entry.key: entry for entry in tier.entries()}
    assert [entries[each].hits for each in keys] == [2, 1]
    assert [entries[each].saved_at_s for each in keys] == [100.0, 100.0]
    assert entries[keys[0]].used_at_s == 200.0


def test_a_hit_on_a_frame_since_replaced_does_not_bring_its_old_size_back(tmp_path, durable):
    with durable(tmp_path, 100_000) as tier:
        tier.put(frames([key("a")], num_bytes=10))
        tier.touch([key("a")])
        tier.put(frames([key("a")], num_bytes=5000))
    with durable(tmp_path, 100_000) as tier:
        assert tier.size_bytes == 5000


def test_a_hit_on_a_frame_since_deleted_does_not_bring_it_back(tmp_path, durable):
    with durable(tmp_path, 100_000) as tier:
        tier.put(frames([key("a")]))
        tier.touch([key("a")])
        tier.delete(key("a"))
    with durable(tmp_path, 100_000) as tier:
        assert list(tier.entries()) == []


def test_a_quarantined_frame_stays_away_until_it_is_put_again(tmp_path, durable, reader_of):
    with durable(tmp_path, 100_000) as tier:
        tier.put(frames([key("a")]))
        tier.quarantine(key("a"), "a flipped bit")
    with reader_of(tmp_path) as reader:
        assert reader.quarantined()[str(key("a"))]["reason"] == "a flipped bit"
    with durable(tmp_path, 100_000) as tier:
        assert tier.match([key("a")]) == 0
        tier.put(frames([key("a")]))
        assert tier.get(key("a")) == frame(key("a"))
    with reader_of(tmp_path) as reader:
        assert reader.quarantined() == {}


def test_without_eviction_what_does_not_fit_is_declined(tmp_path):
    with LmdbTier(tmp_path, 3 * FRAME_BYTES, policy=NoEviction) as tier:
        assert tier.put(frames(prompt("a", 2))) == 2
        assert tier.put(frames(prompt("b", 2))) == 1
        assert tier.match(prompt("a", 2)) == 2


def test_a_budget_must_be_positive(tmp_path, durable):
    with pytest.raises(InvalidRequest):
        durable(tmp_path, 0)


def test_hits_are_written_when_they_are_many_and_whoever_notes_them_waits_for_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "_MAX_USES", 10)
    keys, may_commit, commit = prompt("a", 20), threading.Event(), DiskTier._commit

    def commit_when_it_may(tier, work):
        may_commit.wait()
        return commit(tier, work)

    with DiskTier(tmp_path, 1_000_000) as tier:
        tier.put(frames(keys))
        monkeypatch.setattr(DiskTier, "_commit", commit_when_it_may)
        for _ in range(3):
            tier.touch(keys)
        assert all(tier.get(each) == frame(each) for each in keys)
        may_commit.set()
        while DiskReader.entry(tier, keys[0]).hits == 0:  # in the index, whatever is noted beside it
            time.sleep(0.01)


def test_hits_that_cannot_be_written_are_forgotten_and_logged(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(disk, "_MAX_USES", 10)
    keys = prompt("a", 20)

    def fail(tier, work):
        raise OSError("no space left on device")

    with DiskTier(tmp_path, 1_000_000) as tier:
        tier.put(frames(keys))
        with monkeypatch.context() as patch:
            patch.setattr(DiskTier, "_commit", fail)
            tier.touch(keys)
            while not caplog.records:
                time.sleep(0.01)
        assert "hits are forgotten" in caplog.text
    with DiskReader(tmp_path) as reader:
        assert [reader.entry(each).hits for each in keys] == [0] * 20
