"""Every way to keep values on a disk takes its turn: written, read again, read cold, overwritten; and RAM."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from benchmarks.disk_directory import disk_bytes
from benchmarks.disk_ways import STORES, WAYS, Way
from connectors.page_cache import drop_from_page_cache
from kvstore import ChunkKey, MemoryTier
from kvstore.buffers import Bytes, aligned_buffer, contiguous_buffer
from kvstore.segment_record import PAGE_BYTES

_ROOMY_BYTES = 16 << 30  # nothing is evicted, and segments are as long as in a large store
_PROMPT_CHUNKS = 8
_LIVE_SHARE = 0.9


@dataclass
class Timings:
    """Seconds of each put by round, of each get by round."""

    put_s: list[float] = field(default_factory=list)
    warm_s: list[list[float]] = field(default_factory=list)
    cold_s: list[list[float]] = field(default_factory=list)


def random_values(number: int, num_bytes: int) -> list[Bytes]:
    """Bytes [num_bytes] each, page-aligned, that nothing compresses.

    They lie in huge pages: the raw disk, which writes them from there, takes twice as long for scattered ones.
    """
    values = contiguous_buffer(number * num_bytes)
    values[:] = np.random.default_rng(0).integers(0, 256, len(values), np.uint8)
    return list(values.reshape(number, num_bytes))


def key_of(name: object) -> ChunkKey:
    return ChunkKey(hashlib.sha256(str(name).encode()).digest())


def keep_values(directory: Path, value_bytes: int, put_bytes: int, num_rounds: int) -> dict[str, Timings]:
    """Timings of every way, each a put of `put_bytes` and its values read in every round, by name.

    The first round warms up and does not count. The ways take their turns in another order in each. Every value
    read is compared with what was put, and what a way left to the kernel to write is written, out of the time.
    """
    values = random_values(put_bytes // value_bytes, value_bytes)
    rounds = [[key_of((number, index)) for index in range(len(values))] for number in range(num_rounds + 1)]
    ways = {name: make(directory / name, _ROOMY_BYTES) for name, make in WAYS.items()}
    timings = {name: Timings() for name in ways}
    for way in ways.values():
        way.open()
    with Progress() as progress:
        for keys in progress.track(rounds, description=f"{value_bytes >> 10} KiB, written"):
            for name, way in _in_turn(ways, keys):
                timings[name].put_s.append(_seconds(way.put, keys, values))
                if not way.is_durable:
                    os.sync()
        for keys in progress.track(rounds, description=f"{value_bytes >> 10} KiB, read again"):
            for name, way in _in_turn(ways, keys):
                timings[name].warm_s.append(_get_all(way, keys, values))
        for keys in progress.track(rounds, description=f"{value_bytes >> 10} KiB, read cold"):
            for name, way in _in_turn(ways, keys):
                way.close()
                drop_from_page_cache(way.directory)
                way.open()
                timings[name].cold_s.append(_get_all(way, keys, values))
    for way in ways.values():
        way.close()
        shutil.rmtree(way.directory)
    return {name: Timings(each.put_s[1:], each.warm_s[1:], each.cold_s[1:]) for name, each in timings.items()}


def _in_turn(ways: Mapping[str, Way], keys: Sequence[ChunkKey]) -> list[tuple[str, Way]]:
    return random.Random(str(keys[0])).sample(list(ways.items()), len(ways))


def _seconds(work: Callable[..., object], *arguments: object) -> float:
    begin = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - begin


def _get_all(way: Way, keys: Sequence[ChunkKey], values: Sequence[Bytes]) -> list[float]:
    """Seconds of each get, in random order."""
    seconds = []
    for index in random.Random(str(keys[0])).sample(range(len(keys)), len(keys)):
        begin = time.perf_counter()
        found = way.get(keys[index])
        seconds.append(time.perf_counter() - begin)
        if not np.array_equal(np.frombuffer(found, np.uint8), values[index]):
            raise RuntimeError(f"{type(way).__name__} gave other bytes than it was given")
        del found  # so that the next one may be read into the same memory, as the raw disk's is
    return seconds


def overwrite(directory: Path, capacity_bytes: int, value_bytes: int) -> list[dict[str, Any]]:
    """Prompts of 8 values that fill nine tenths of the capacity, overwritten at random until it is three times.

    Values are `value_bytes` long on average, and half as long to half as long again, in whole pages.
    """
    (source,), choose = random_values(1, 2 * value_bytes), random.Random(0)
    num_prompts = int(_LIVE_SHARE * capacity_bytes) // (_PROMPT_CHUNKS * value_bytes)
    turns = [*range(num_prompts), *(choose.randrange(num_prompts) for _ in range(3 * num_prompts))]
    ways = {name: make(directory / name, capacity_bytes) for name, make in STORES.items()}
    live: dict[int, int] = {}
    churned = {name: Churned() for name in ways}
    for way in ways.values():
        way.open()
    with Progress() as progress:
        for turn, prompt in enumerate(progress.track(turns, description="overwritten")):
            values = [_part(source, value_bytes, choose) for _ in range(_PROMPT_CHUNKS)]
            keys, live[prompt] = [key_of((prompt, place)) for place in range(len(values))], sum(map(len, values))
            for name, way in ways.items():
                seconds = _seconds(way.put, keys, values)
                if turn >= num_prompts:
                    churned[name].note(seconds, live[prompt])
                if turn % num_prompts == num_prompts - 1:
                    churned[name].times_live.append(disk_bytes(way.directory) / sum(live.values()))
    for way in ways.values():
        way.close()
        shutil.rmtree(way.directory)
    return [
        {"corpus": "overwritten three times", "way": name, "durable": ways[name].is_durable, **each.row()}
        for name, each in churned.items()
    ]


def _part(source: Bytes, value_bytes: int, choose: random.Random) -> Bytes:
    num_pages = choose.randint(value_bytes // 2 // PAGE_BYTES, value_bytes * 3 // 2 // PAGE_BYTES)
    start = PAGE_BYTES * choose.randrange(len(source) // PAGE_BYTES - num_pages + 1)
    return source[start : start + PAGE_BYTES * num_pages]


@dataclass
class Churned:
    """What overwriting took: seconds and bytes of each put, the disk's bytes over the live ones once a capacity."""

    put_s: list[float] = field(default_factory=list)
    num_bytes: int = 0
    times_live: list[float] = field(default_factory=list)

    def note(self, seconds: float, num_bytes: int) -> None:
        self.put_s.append(seconds)
        self.num_bytes += num_bytes

    def row(self) -> dict[str, float]:
        return {
            "gb_s": self.num_bytes / sum(self.put_s) / 1e9,
            "put_p50_ms": 1e3 * float(np.quantile(self.put_s, 0.5)),
            "put_p99_ms": 1e3 * float(np.quantile(self.put_s, 0.99)),
            "disk_times_live": max(self.times_live[1:]),
        }


def memory_hits(value_bytes: int, num_passes: int) -> dict[str, Any]:
    """GB/s of frames copied into a buffer, from where they lie and from a memory tier, in turns; medians."""
    values = {key_of(index): value for index, value in enumerate(random_values((64 << 20) // value_bytes, value_bytes))}
    tier, buffer = MemoryTier(_ROOMY_BYTES), aligned_buffer(value_bytes)
    tier.put([(key, value.data) for key, value in values.items()])
    buffer[:] = 0
    copied, hit = [], []
    for _ in range(num_passes):
        copied.append(_seconds(_copy_all, values, buffer))
        hit.append(_seconds(_hit_all, tier, values, buffer))
    total = len(values) * value_bytes / 1e9
    return {
        "corpus": "in memory",
        "value_kib": value_bytes >> 10,
        "memcpy_gb_s": total / float(np.median(copied)),
        "hit_gb_s": total / float(np.median(hit)),
        "of_memcpy": float(np.median(np.divide(copied, hit))),
    }


def _copy_all(values: Mapping[ChunkKey, Bytes], buffer: Bytes) -> None:
    for value in values.values():
        np.copyto(buffer, value)


def _hit_all(tier: MemoryTier, keys: Mapping[ChunkKey, Bytes], buffer: Bytes) -> None:
    for key in keys:
        frame = tier.get(key)
        assert frame is not None, "everything fits"
        np.copyto(buffer, np.frombuffer(frame, np.uint8))
