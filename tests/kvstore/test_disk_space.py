"""What the directory takes on disk, and what is remembered in it from one opening to the next."""

import errno
import os
import random

import pytest

from kvstore import DiskTier, Terms, disk
from kvstore.testing import FRAME_BYTES, TierContract, frame, frames, key, prompt

SEGMENT_BYTES, EXTRA_BYTES = 262_144, 2_000_000


@pytest.fixture
def small_segments(monkeypatch):
    monkeypatch.setattr(disk, "_MIN_SEGMENT_BYTES", SEGMENT_BYTES)
    monkeypatch.setattr(disk, "_EXTRA_BYTES", EXTRA_BYTES)


@pytest.mark.parametrize("frame_bytes", [100, 10_000, 100_000])
def test_files_stay_within_a_quarter_and_a_fixed_amount_of_the_budget(tmp_path, small_segments, frame_bytes):
    choose, capacity = random.Random(1), 4_000_000
    with DiskTier(tmp_path, capacity) as tier:
        for _ in range(300):
            size = choose.randint(frame_bytes // 2, frame_bytes)
            keys = prompt(str(choose.randrange(40)), choose.randint(1, 200_000 // frame_bytes % 30 + 2))
            assert tier.put([(each, frame(each, size)) for each in keys]) == len(keys)
            lengths = [file.stat().st_size for file in (tmp_path / "segments").iterdir()]
            assert sum(lengths) <= capacity * 5 // 4 + EXTRA_BYTES
            assert tier.match(keys) == len(keys)
        assert all(tier.get(entry.key) is not None for entry in tier.entries())
        assert tier.size_bytes == sum(entry.size_bytes for entry in tier.entries()) <= capacity
    assert sum(file.stat().st_size for file in (tmp_path / "segments").iterdir()) <= capacity * 5 // 4 + EXTRA_BYTES


def test_a_frame_longer_than_a_segment_has_one_of_its_own(tmp_path, small_segments):
    with DiskTier(tmp_path, 4_000_000) as tier:
        for number in range(8):
            this = key(str(number))
            assert tier.put(frames([this], 3 * SEGMENT_BYTES)) == 1
            assert tier.get(this) == frame(this, 3 * SEGMENT_BYTES)
        assert tier.size_bytes == 5 * 3 * SEGMENT_BYTES
        assert len(list((tmp_path / "segments").iterdir())) == 5


def test_what_is_deleted_gives_its_file_back(tmp_path, small_segments):
    keys = [key(str(number)) for number in range(60)]
    with DiskTier(tmp_path, 10_000_000) as tier:
        tier.put(frames(keys, 50_000))
        for each in keys[:-1]:
            assert tier.delete(each)
        assert tier.file_bytes < 1_000_000
        assert tier.get(keys[-1]) == frame(keys[-1], 50_000)


def test_many_openings_do_not_make_many_files(tmp_path):
    for number in range(20):
        with DiskTier(tmp_path, 1 << 30) as tier:
            tier.put(frames([key(str(number))]))
    assert len(list((tmp_path / "segments").iterdir())) == 1


def test_pins_quotas_and_expiry_outlive_the_process(tmp_path):
    keys, quotas = prompt("a", 3), {"small": 2 * FRAME_BYTES}
    now = [1000.0]
    with DiskTier(tmp_path, 6 * FRAME_BYTES, clock=lambda: now[0], quotas=quotas) as tier:
        tier.put(frames(keys))
        tier.pin(keys)
        tier.put(frames([key("short")]), terms=Terms(expires_at_s=2000.0))
        tier.put(frames([key("own 0")]), terms=Terms("small"))
    now[0] = 3000.0
    with DiskTier(tmp_path, 6 * FRAME_BYTES, clock=lambda: now[0], quotas=quotas) as tier:
        assert [entry.key for entry in tier.entries() if entry.pinned] == sorted(keys)
        assert tier.get(key("short")) is None
        for number in range(1, 4):
            assert tier.put(frames([key(f"own {number}")]), terms=Terms("small")) == 1
        assert [tier.match([key(f"own {number}")]) for number in range(4)] == [0, 0, 1, 1]
        for number in range(8):
            assert tier.put(frames([key(f"other {number}")])) == 1
        assert tier.match(keys) == 3


def test_a_tenant_of_any_name_can_be_kept_apart(tmp_path):
    names = ["", "\0", "\ud800", "x" * 3000, "Ünal"]
    with DiskTier(tmp_path, 1 << 20) as tier:
        for name in names:
            assert tier.put(frames([key(repr(name))]), terms=Terms(name)) == 1
    with DiskTier(tmp_path, 1 << 20) as tier:
        assert [tier.entry(key(repr(name))).terms.tenant for name in names] == names


class TestDiskTierWithoutDirectIO(TierContract):
    """As on a file system that refuses O_DIRECT when a file is opened."""

    @pytest.fixture(autouse=True)
    def refuse(self, monkeypatch):
        open_file = os.open

        def refusing(path, flags, *mode, **options):
            if flags & os.O_DIRECT:
                raise OSError(errno.EINVAL, "a test refuses O_DIRECT")
            return open_file(path, flags, *mode, **options)

        monkeypatch.setattr(os, "open", refusing)

    def make_tier(self, tmp_path, capacity_bytes):
        return DiskTier(tmp_path, capacity_bytes)
