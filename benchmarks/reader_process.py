"""A process that reads a store as often as it is told to, and checks every frame against what it should be."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from kvstore import ChunkKey, DiskReader, LmdbReader, Tier

NUM_CHUNKS = 64
NUM_VERSIONS = 2
_MEAN_BYTES = 1 << 20

READERS: Mapping[str, Callable[[Path], Tier]] = {"disk tier": DiskReader, "LMDB tier": LmdbReader}


def key(chunk: int) -> ChunkKey:
    return ChunkKey(hashlib.sha256(str(chunk).encode()).digest())


def frame(chunk: int, version: int) -> bytes:
    """Random bytes that are this frame's alone, as are their number: half a MiB to one and a half."""
    chosen = np.random.default_rng([chunk, version])
    return chosen.bytes(int(chosen.integers(_MEAN_BYTES // 2, _MEAN_BYTES * 3 // 2)))


@dataclass(frozen=True)
class Task:
    """Read chunks at random through a tier's reader, for `seconds`."""

    tier: str
    path: Path
    seconds: float
    seed: int


@dataclass(frozen=True)
class Reads:
    """What a task came to. `get_s` are the seconds of each get; `seconds` count the checks as well."""

    get_s: NDArray[np.float64]
    num_bytes: int
    seconds: float
    num_missed: int
    num_wrong: int


class ReaderProcess:
    """One spawned process. Give it a task with `prepare`, let all of them `start`, then wait for `finished`."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def prepare(self, task: Task) -> None:
        """Returns when the store is open."""
        self._pipe.send(task)
        self._pipe.recv()

    def start(self) -> None:
        self._pipe.send(None)

    def is_busy(self) -> bool:
        """False as well when it has died: then `finished` raises EOFError."""
        return not self._pipe.poll()

    def finished(self) -> Reads:
        reads: Reads = self._pipe.recv()
        return reads

    def close(self) -> None:
        self._pipe.close()
        self._process.join()


def _serve(pipe: Connection) -> None:
    right = {key(chunk): _digests(chunk) for chunk in range(NUM_CHUNKS)}
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        with READERS[task.tier](task.path) as tier:
            pipe.send(None)
            pipe.recv()
            pipe.send(read(tier, right, task))


def _digests(chunk: int) -> set[int]:
    return {xxhash.xxh3_128_intdigest(frame(chunk, version)) for version in range(NUM_VERSIONS)}


def read(tier: Tier, right: Mapping[ChunkKey, set[int]], task: Task) -> Reads:
    """Every frame must have one of the digests that are right for its key."""
    choose, keys, get_s = random.Random(task.seed), list(right), []
    num_bytes = num_missed = num_wrong = 0
    begin = now_s = time.perf_counter()
    while now_s < begin + task.seconds:
        wanted = choose.choice(keys)
        asked_s = time.perf_counter()
        found = tier.get(wanted)
        get_s.append(time.perf_counter() - asked_s)
        if found is None:
            num_missed += 1
        else:
            num_bytes += len(found)
            num_wrong += xxhash.xxh3_128_intdigest(found) not in right[wanted]
        now_s = time.perf_counter()
    return Reads(np.array(get_s), num_bytes, now_s - begin, num_missed, num_wrong)
