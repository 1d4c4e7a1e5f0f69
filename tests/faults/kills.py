"""kill -9 under load: what was acknowledged is there, what is there is whole, a reader never gets anything else.

Three threads put prompts, each in several groups. In even rounds there is room for all. In odd ones there is
little: frames are evicted and segments cleaned, one prompt is pinned, and of the others those must be there
behind which too few were put to push them out.
"""

import shutil
import threading
import time
from contextlib import ExitStack, suppress
from random import Random
from unittest import mock

from kvstore import DiskReader, DiskTier, TierUnavailable, disk, disk_log
from kvstore.testing import frame, frames, prompt
from tests.kvstore.children import child

FRAME_BYTES, CHUNKS, THREADS = 40_000, 4, 3
ROOMY, TIGHT = 1 << 30, 15 * CHUNKS * FRAME_BYTES
MOST_AFTER = 9  # puts behind a prompt, those under way included: of 15 that fit one is pinned
ROUNDS_A_STORE = 20  # then a new one: reading all of it takes longer and longer
LONGEST_S = 0.4
PINNED = "pinned"


class Kills:
    """Rounds on two stores, of which one evicts. `attempt` says what went wrong in a round."""

    def __init__(self, directory, seed):
        self._directory, self._seed = directory, seed
        self._kept = set()  # prompts that were acknowledged by the roomy store

    def kind(self, number):
        return "evicting" if number % 2 else "roomy"

    def attempt(self, number):
        kind, random = self.kind(number), Random(f"{self._seed} kill {number}")
        path, capacity = self._directory / kind, TIGHT if number % 2 else ROOMY
        if number // 2 % ROUNDS_A_STORE == 0:
            shutil.rmtree(path, ignore_errors=True)
            self._kept -= self._kept if kind == "roomy" else set()
        with small_pieces():
            puts, problems = _puts_until_killed(path, capacity, number, random)
            must = {name for name, began_s, _ in puts if kind == "roomy" or _must_be_there(name, began_s, puts)}
            if kind == "roomy":
                self._kept |= must
                must = self._kept
            return [*problems, *_problems(path, capacity, must)]


def small_pieces():
    """Inside, a put takes several groups, and segments are so small that they have to be cleaned."""
    patches = ExitStack()
    patches.enter_context(mock.patch.multiple(disk, _MIN_SEGMENT_BYTES=400_000, _EXTRA_BYTES=2_000_000))
    patches.enter_context(mock.patch.object(disk_log, "_GROUP_BYTES", 100_000))
    return patches


def _must_be_there(name, began_s, puts):
    """Whether so little was put behind it that it cannot have been evicted."""
    return name == PINNED or THREADS + sum(ended_s > began_s for _, _, ended_s in puts) <= MOST_AFTER


def _puts_until_killed(path, capacity, number, random):
    """What was acknowledged, as (prompt's name, began, ended), and what was wrong with what a reader got."""
    puts, problems, until_s = [], [], time.monotonic() + random.uniform(0, LONGEST_S)
    with child(_put_for_ever, path, capacity, number, random.random()) as (pipe, process):
        with suppress(TierUnavailable), DiskReader(path) as reader:
            while time.monotonic() < until_s:
                puts += _received(pipe)
                problems += _wrong_frames(reader, [random.choice(puts)[0]] if puts else [])
        while time.monotonic() < until_s:
            puts += _received(pipe)
        process.kill()
        process.join()
        with suppress(EOFError):
            while True:
                puts.append(pipe.recv())
    return puts, problems


def _received(pipe):
    puts = []
    with suppress(EOFError):
        while pipe.poll(0.002):
            puts.append(pipe.recv())
    return puts


def _put_for_ever(pipe, path, capacity, number, seed):
    sending = threading.Lock()
    with DiskTier(path, capacity) as tier:

        def put(name):
            began_s, keys = time.monotonic(), prompt(name, CHUNKS)
            if tier.put(frames(keys, FRAME_BYTES)) == CHUNKS and (name != PINNED or tier.pin(keys) == CHUNKS):
                with sending:
                    pipe.send((name, began_s, time.monotonic()))

        def work(thread):
            choose = Random(f"{seed} {thread}")
            for count in range(10**6):
                put(f"{number}/{thread}/{count}" if choose.random() < 0.7 else f"again {choose.randrange(6)}")

        if tier.match(prompt(PINNED, CHUNKS)) < CHUNKS:
            put(PINNED)
        else:
            pipe.send((PINNED, 0.0, 0.0))
        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _wrong_frames(tier, names):
    for name in names:
        for each in prompt(name, CHUNKS):
            if (view := tier.get(each)) is not None and view != frame(each, FRAME_BYTES):
                yield f"wrong bytes in {name}"


def _problems(path, capacity, must):
    """What is wrong with the store that the killed writer left."""
    with DiskTier(path, capacity) as tier:
        for name in must:
            if (held := tier.match(prompt(name, CHUNKS))) < CHUNKS:
                yield f"{CHUNKS - held} chunks of {name} are lost"
        visible = list(tier.entries())
        if any(tier.get(entry.key) != frame(entry.key, FRAME_BYTES) for entry in visible):
            yield "what is visible is not whole"
        if tier.size_bytes != len(visible) * FRAME_BYTES or tier.size_bytes > capacity:
            yield f"{tier.size_bytes} bytes are said to be held in {len(visible)} chunks"
    if aside := list(path.glob("index.damaged-*")):
        yield f"a killed writer is no damage, and yet the index was set aside: {aside}"
