"""Readers that check what they read, in this process and in others."""

import numpy as np
import pytest

from benchmarks.many_processes import checks, measured
from benchmarks.reader_process import NUM_CHUNKS, ReaderProcess, Task, frame, key, read
from kvstore import MemoryTier

TASK = Task("none", None, 0.05, 0)
RIGHT = {key(chunk): {chunk} for chunk in range(2)}


def test_a_frame_is_the_same_in_every_process_and_no_other_one():
    assert frame(1, 0) == frame(1, 0)
    assert len({frame(chunk, version) for chunk in range(2) for version in range(2)}) == 4


def test_a_reader_counts_what_is_missing_and_what_is_wrong():
    with MemoryTier(1 << 20) as tier:
        tier.put([(key(0), b"what nobody put")])
        reads = read(tier, RIGHT, TASK)
    assert reads.num_wrong > 0
    assert reads.num_missed > 0
    assert reads.num_wrong + reads.num_missed == len(reads.get_s)
    assert reads.num_bytes == reads.num_wrong * len(b"what nobody put")


def test_readers_beside_a_writer_read_what_is_right(tmp_path):
    rows = measured(tmp_path, 1, 0.3, [2])
    assert [(row["tier"], row["readers"], row["writer"]) for row in rows] == [
        (tier, 2, writes) for tier in ("disk tier", "LMDB tier") for writes in (False, True)
    ]
    assert all(row["gets"] > 0 and row["checked_gb_s"] > 0 for row in rows)
    assert all((row["put_gb_s"] is not None) == row["writer"] for row in rows)
    assert all(check.ok and check.value == 0 for check in checks(rows))


def test_a_reader_that_died_ends_the_run(tmp_path):
    process = ReaderProcess()
    with pytest.raises((EOFError, ConnectionError)):
        process.prepare(Task("disk tier", tmp_path / "no store", 1.0, 0))
    process.close()


def test_frames_differ_in_length():
    lengths = [len(frame(chunk, 0)) for chunk in range(NUM_CHUNKS)]
    assert np.ptp(lengths) > 1 << 18
