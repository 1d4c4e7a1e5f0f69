"""kill -9 in the middle of saving: what was acknowledged is there, and everything that can be seen is whole."""

import random
import time
from contextlib import suppress

from kvstore import DiskTier, disk
from kvstore.testing import frame, frames, prompt
from tests.kvstore.children import child

CAPACITY = 1 << 30
FRAME_BYTES = 60_000


def name_of(run, number):
    return f"run {run} prompt {number}"


def save_for_ever(pipe, path, run):
    """Puts prompt after prompt, each in several transactions, and names each one when it was acknowledged."""
    with DiskTier(path, CAPACITY) as tier:
        for number in range(10**6):
            keys = prompt(name_of(run, number), 4)
            assert tier.put(frames(keys, FRAME_BYTES)) == 4
            pipe.send(number)


def acknowledged_until_killed(path, run, after_s):
    """How many prompts one writer acknowledged before it was killed."""
    count = 0
    with child(save_for_ever, path, run) as (pipe, process), suppress(EOFError):
        count += pipe.recv() == count
        time.sleep(after_s)
        process.kill()
        process.join()
        while True:
            count += pipe.recv() == count
    return count


def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "_GROUP_BYTES", 100_000)
    choose = random.Random(9)
    acknowledged, started = [], set()
    for run in range(10):
        count = acknowledged_until_killed(tmp_path, run, after_s=choose.uniform(0, 0.1))
        acknowledged += [prompt(name_of(run, number), 4) for number in range(count)]
        started |= {key for number in range(count + 1) for key in prompt(name_of(run, number), 4)}
        with DiskTier(tmp_path, CAPACITY) as tier:
            assert all(tier.match(keys) == 4 for keys in acknowledged)
            visible = {entry.key: tier.get(entry.key) for entry in tier.entries()}
        assert visible.keys() <= started
        assert all(held == frame(key, FRAME_BYTES) for key, held in visible.items())
