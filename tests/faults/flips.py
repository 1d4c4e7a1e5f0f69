"""One flipped bit in the segments or the index of a closed store: always a miss, never wrong bytes, never a crash.

Of four rounds two flip a bit in a segment, one in the index, one in an index without its seal, as a killed
writer leaves it. In an index as it was closed, and in a segment, at most the frame that was hit may be missing.
"""

import shutil
from contextlib import suppress
from random import Random

from kvstore import DiskReader, DiskTier, Terms, TierUnavailable
from kvstore.testing import frames, key, prompt

CAPACITY, FRAME_BYTES = 64 << 20, 30_000
PROMPTS = [prompt(f"prompt {number}", 6) for number in range(10)]
KEYS = [each for keys in PROMPTS for each in keys]
NEW = key("new")
RIGHT = dict(frames([*KEYS, NEW], FRAME_BYTES))
KINDS = "segments", "segments", "index", "unsealed index"


class Flips:
    """Rounds on one copy of a store. `attempt` says what went wrong in a round."""

    def __init__(self, directory, seed, kinds=KINDS):
        self._whole, self._store, self._seed, self._kinds = directory / "whole", directory / "store", seed, kinds
        with DiskTier(self._whole, CAPACITY) as tier:
            for keys in PROMPTS:
                tier.put(frames(keys, FRAME_BYTES), terms=Terms("somebody", 4e9))
            for number in range(40):  # the index has free pages, too
                tier.put(frames([key(f"gone {number}")]))
            tier.delete_all([key(f"gone {number}") for number in range(40)])
            tier.pin(PROMPTS[0])

    def kind(self, number):
        return self._kinds[number % len(self._kinds)]

    def attempt(self, number):
        random, kind = Random(f"{self._seed} flip {number}"), self.kind(number)
        shutil.rmtree(self._store, ignore_errors=True)
        shutil.copytree(self._whole, self._store)
        room = self._store / ("segments" if kind == "segments" else "index")
        if kind == "unsealed index":
            (room / "seal").unlink()
        where = _flip(sorted(room.iterdir()), random)
        return [f"{where}: {problem}" for problem in self._use(kind)]

    def _use(self, kind):
        if kind != "unsealed index":  # of which a reader says nothing: a writer may be at work
            with suppress(TierUnavailable), DiskReader(self._store) as reader:
                yield from _problems(reader, len(KEYS) - 1)
        legal = TierUnavailable if kind == "unsealed index" else ()  # a row that is none: the next writer makes it anew
        with suppress(legal), DiskTier(self._store, CAPACITY) as tier:
            yield from _problems(tier, 0 if kind == "unsealed index" else len(KEYS) - 1)
            if tier.put([(NEW, RIGHT[NEW])]) != 1 or _wrong(tier, NEW) or not tier.delete(NEW):
                yield "nothing can be put any more"
        with DiskTier(self._store, CAPACITY) as tier:  # on what that left
            tier.put([(NEW, RIGHT[NEW])])
            if tier.match([NEW]) != 1 or any(_wrong(tier, keys[-1]) for keys in PROMPTS):
                yield "the next writer finds something wrong"


def _flip(files, random):
    """Flips one of all the bits of these files; says where."""
    place = random.randrange(8 * sum(file.stat().st_size for file in files))
    for file in files:
        content = bytearray(file.read_bytes())
        if place < 8 * len(content):
            content[place // 8] ^= 1 << place % 8
            file.write_bytes(content)
            return f"bit {place} of {file.name}"
        place -= 8 * len(content)
    raise AssertionError("the place is in one of them")


def _wrong(tier, each):
    """Whether it gives other bytes than were put; a miss is none."""
    view = tier.get(each)
    return view is not None and bytes(view) != RIGHT[each]


def _problems(tier, at_least):
    """What is wrong with what a tier gives."""
    if any(_wrong(tier, each) for each in KEYS):
        yield "wrong bytes"
    if (num_right := sum(tier.entry(each) is not None for each in KEYS)) < at_least:
        yield f"only {num_right} of {len(KEYS)} frames are there"
    held = {entry.key for entry in tier.entries()}
    for keys in PROMPTS:
        if not 0 <= tier.match(keys) <= len(keys) or tier.match(keys) > sum(each in held for each in keys):
            yield "matched what is not held"
