"""kill -9 in the middle of saving: what was acknowledged is there, and everything that can be seen is whole."""

import random
import time
from contextlib import suppress

from kvstore import DiskTier, disk, disk_log, lmdb_tier
from kvstore.testing import frame, frames, prompt
from tests.kvstore.children import child

CAPACITY = 1 << 30
FRAME_BYTES = 60_000


def name_of(run, number):
    return f"run {run} prompt {number}"


def save_for_ever(pipe, durable, path, run):
    """Puts prompt after prompt, each in several transactions, and names each one when it was acknowledged."""
    with durable(path, CAPACITY) as tier:
        for number in range(10**6):
            keys = prompt(name_of(run, number), 4)
            assert tier.put(frames(keys, FRAME_BYTES)) == 4
            pipe.send(number)


def acknowledged_until_killed(durable, path, run, after_s):
    """How many prompts one writer acknowledged before it was killed."""
    count = 0
    with child(save_for_ever, durable, path, run) as (pipe, process), suppress(EOFError):
        count += pipe.recv() == count
        time.sleep(after_s)
        process.kill()
        process.join()
        while True:
            count += pipe.recv() == count
    return count


def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path, durable, monkeypatch):
    for tier in (disk_log, lmdb_tier):
        monkeypatch.setattr(tier, "_GROUP_BYTES", 140_000)
    choose = random.Random(9)
    acknowledged, started = [], set()
    for run in range(10):
        count = acknowledged_until_killed(durable, tmp_path, run, after_s=choose.uniform(0, 0.1))
        acknowledged += [prompt(name_of(run, number), 4) for number in range(count)]
        started |= {key for number in range(count + 1) for key in prompt(name_of(run, number), 4)}
        with durable(tmp_path, CAPACITY) as tier:
            assert all(tier.match(keys) == 4 for keys in acknowledged)
            visible = {entry.key: tier.get(entry.key) for entry in tier.entries()}
        assert visible.keys() <= started
        assert all(held == frame(key, FRAME_BYTES) for key, held in visible.items())


def overwrite_for_ever(pipe, path):
    """Puts the same prompts over and over into little space, so that segments are cleaned all the time."""
    with DiskTier(path, 20 * FRAME_BYTES) as tier:
        pipe.send("open")
        choose = random.Random(1)
        while True:
            keys = prompt(f"prompt {choose.randrange(8)}", 4)
            tier.put(frames(keys[: choose.randint(1, 4)], FRAME_BYTES))


def test_a_writer_killed_while_it_cleans_leaves_only_whole_frames(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "_MIN_SEGMENT_BYTES", 200_000)
    monkeypatch.setattr(disk, "_EXTRA_BYTES", 600_000)
    choose = random.Random(3)
    for _ in range(10):
        with child(overwrite_for_ever, tmp_path) as (pipe, process):
            assert pipe.recv() == "open"
            time.sleep(choose.uniform(0.05, 0.2))
            process.kill()
        with DiskTier(tmp_path, 20 * FRAME_BYTES) as tier:
            visible = {entry.key: tier.get(entry.key) for entry in tier.entries()}
            assert visible
            assert tier.size_bytes == len(visible) * FRAME_BYTES
            assert all(held == frame(key, FRAME_BYTES) for key, held in visible.items())
