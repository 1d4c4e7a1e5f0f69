"""What holds the disk tier against the disk: every way gives back what it was given, and the tables follow."""

from pathlib import Path

import numpy as np
import pytest

import benchmarks.disk_directory as places
from benchmarks.disk_directory import disk_bytes, file_system, scratch_directory
from benchmarks.disk_index_speed import index_speed
from benchmarks.disk_speed import Timings, keep_values, key_of, memory_hits, overwrite, random_values
from benchmarks.disk_tier import QUICK, Size, _value_checks, _value_rows, measured
from benchmarks.disk_ways import WAYS

MIB = 1 << 20


@pytest.mark.parametrize("name", WAYS)
def test_every_way_gives_back_what_it_was_given_also_when_opened_again(name, tmp_path):
    way = WAYS[name](tmp_path / "way", 64 * MIB)
    keys, values = [key_of(seed) for seed in range(3)], random_values(3, 8192)
    way.open()
    way.put(keys, values)
    way.close()
    way.open()
    assert [bytes(way.get(key)) for key in reversed(keys)] == [bytes(value) for value in reversed(values)]
    way.close()


def test_a_way_that_gives_other_bytes_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(WAYS["files"], "get", lambda self, key: bytes(8192))
    with pytest.raises(RuntimeError, match="other bytes"):
        keep_values(tmp_path, 8192, 16384, 1)


def test_a_value_row_compares_with_the_raw_disk_that_is_as_durable():
    kept = {
        "disk tier": Timings([0.2, 0.2], [[0.1, 0.1]], [[0.1, 0.3]]),
        "raw": Timings([0.01, 0.01], [[0.1, 0.1]], [[0.1, 0.1]]),
        "raw, durable": Timings([0.1, 0.2], [[0.1, 0.1]], [[0.1, 0.1]]),
    }
    tier, *_ = rows = _value_rows(kept, MIB, 2 * MIB)
    assert (tier["of_raw"], tier["cold_of_raw"]) == pytest.approx((0.75, 0.5))
    assert tier["write_gb_s"] == pytest.approx(2 * MIB / 0.2 / 1e9)
    assert [check.ok for check in _value_checks(rows)] == [False, False]


def test_overwriting_counts_the_disks_bytes_and_leaves_nothing(tmp_path):
    rows = {row["way"]: row for row in overwrite(tmp_path, 4 * MIB, MIB // 8)}
    assert rows["files"]["disk_times_live"] == pytest.approx(1.0, abs=0.05)
    assert all(row["put_p50_ms"] <= row["put_p99_ms"] for row in rows.values())
    assert list(tmp_path.iterdir()) == []


def test_stores_of_many_chunks_are_opened_and_matched(tmp_path):
    rows = index_speed(tmp_path, [1024])
    assert [(row["tier"], row["chunks"]) for row in rows] == [("disk tier", 1024), ("LMDB tier", 1024)]
    assert all(row["open_cold_ms"] > 0 and row["open_warm_ms"] > 0 and row["match_32_p50_us"] > 0 for row in rows)


def test_a_hit_in_memory_stands_beside_a_copy():
    assert 0 < memory_hits(MIB // 4, 2)["of_memcpy"] < 2


def test_a_run_has_a_row_for_everything_and_six_checks(tmp_path):
    rows, checks = measured(tmp_path, Size(2 * MIB, 1, 16 * MIB, (1024,), 1))
    assert len(rows) == 2 * len(WAYS) + 4 + 2 + 2
    assert len(checks) == 6
    assert list(tmp_path.iterdir()) == []


def test_a_quick_run_takes_less_than_a_gigabyte_of_disk():
    assert len(WAYS) * (QUICK.num_rounds + 1) * QUICK.put_bytes < 10**9


def test_memory_is_refused_as_a_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "file_system", lambda path: "tmpfs")
    with pytest.raises(SystemExit, match="--path"), scratch_directory(tmp_path):
        pass


def test_a_file_system_is_known_by_its_longest_mount_point():
    if Path("/proc/mounts").exists():
        assert file_system(Path("/proc/self")) == "proc"


def test_disk_bytes_do_not_count_holes(tmp_path):
    (tmp_path / "file").write_bytes(np.ones(8192, np.uint8).data)
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(MIB)
    assert 8192 <= disk_bytes(tmp_path) < MIB
