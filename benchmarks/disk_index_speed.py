"""How long opening a store of so many chunks takes, and matching a prompt of 32 of them.

The stores hold no frames. The disk tier's index is filled through its own changes, ten thousand chunks a commit,
over segment files of 256 MiB that are holes, as many as frames of 1 MiB would fill; the LMDB tier's tables
through its own commits, with frames of one byte.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from benchmarks.disk_directory import disk_bytes
from benchmarks.disk_speed import key_of
from connectors.page_cache import drop_from_page_cache
from kvstore import ChunkKey, DiskTier, Entry, LmdbTier, Tier
from kvstore.disk_index import DiskIndex
from kvstore.index_change import IndexChange
from kvstore.index_rows import Located
from kvstore.lmdb_frames import LmdbFrames
from kvstore.segment_record import record_bytes
from kvstore.segments import Place, Segments

FRAME_BYTES = 1 << 20
_SEGMENT_RECORDS = (256 << 20) // record_bytes(FRAME_BYTES)
PROMPT_CHUNKS = 32
CHUNKS_AT_ONCE = 10_000
_MAP_BYTES = 8 << 30
_NUM_OPENINGS, _LONG_S = 5, 1.0  # no more openings of a kind when they have taken that long
_NUM_MATCHES = 400  # after each


def index_speed(directory: Path, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Of each tier that is durable, at each number of chunks: opened cold and warm, then matched.

    Cold is with nothing of it in the page cache; warm with what opening and closing it just now left there, as
    when a process is started again.
    """
    rows = []
    with Progress() as progress:
        for num_chunks in sizes:
            for name, (fill, make) in _TIERS.items():
                path = directory / f"{name} {num_chunks}"
                chunks = progress.track(range(0, num_chunks, CHUNKS_AT_ONCE), description=f"{name}, {num_chunks}")
                fill(path, num_chunks, chunks)
                rows.append(_row(name, path, num_chunks, partial(make, path, 2 * num_chunks * FRAME_BYTES)))
                shutil.rmtree(path)
    return rows


def _row(name: str, path: Path, num_chunks: int, make: Callable[[], Tier]) -> dict[str, Any]:
    matched_s: list[float] = []

    def opened_s() -> float:
        begin = time.perf_counter()
        with make() as tier:
            seconds = time.perf_counter() - begin
            matched_s.extend(_matched_s(tier, num_chunks))
        return seconds

    def opened_cold_s() -> float:
        drop_from_page_cache(path)
        return opened_s()

    cold_ms, warm_ms = _median_ms(opened_cold_s), _median_ms(opened_s)
    return {
        "corpus": "chunks",
        "tier": name,
        "chunks": num_chunks,
        "open_cold_ms": cold_ms,
        "open_warm_ms": warm_ms,
        "match_32_p50_us": 1e6 * float(np.quantile(matched_s, 0.5)),
        "match_32_p99_us": 1e6 * float(np.quantile(matched_s, 0.99)),
        "index_mb": disk_bytes(path) / 1e6,
    }


def _median_ms(opened_s: Callable[[], float]) -> float:
    seconds: list[float] = []
    while len(seconds) < _NUM_OPENINGS and sum(seconds) < _LONG_S:
        seconds.append(opened_s())
    return 1e3 * float(np.median(seconds))


def _matched_s(tier: Tier, num_chunks: int) -> Iterator[float]:
    """Seconds of each match of a whole prompt."""
    choose = random.Random(0)
    for _ in range(_NUM_MATCHES):
        keys = prompt(choose.randrange(num_chunks // PROMPT_CHUNKS))
        begin = time.perf_counter()
        held = tier.match(keys)
        yield time.perf_counter() - begin
        if held < len(keys):
            raise RuntimeError(f"{tier.name} holds {held} chunks of a prompt of {len(keys)} that it was given")


def prompt(number: int) -> list[ChunkKey]:
    return [_key(number * PROMPT_CHUNKS + place) for place in range(PROMPT_CHUNKS)]


def _key(index: int) -> ChunkKey:
    return key_of(("chunk", index))


def _entries(start: int, end: int) -> list[Entry]:
    """Of chunks [start, end), each behind the one before it in its prompt."""
    return [
        Entry(_key(index), FRAME_BYTES, index, index, 0, parent=_key(index - 1) if index % PROMPT_CHUNKS else None)
        for index in range(start, end)
    ]


def fill_disk(path: Path, num_chunks: int, starts: Iterable[int]) -> None:
    DiskTier(path, FRAME_BYTES).close()
    segments, index = Segments(path / "segments"), DiskIndex(path / "index", writable=True)
    for start in starts:
        index.write(partial(_add, start, min(start + CHUNKS_AT_ONCE, num_chunks)))
    for segment, (length, _) in index.segments().items():
        segments.path(segment).touch()
        os.truncate(segments.path(segment), length)
    index.close()


def _add(start: int, end: int, change: IndexChange) -> None:
    for number, entry in enumerate(_entries(start, end), start):
        segment, place = divmod(number, _SEGMENT_RECORDS)
        change.add(Located(entry, Place(segment + 1, place * record_bytes(FRAME_BYTES))))


def _fill_lmdb(path: Path, num_chunks: int, starts: Iterable[int]) -> None:
    LmdbTier(path, FRAME_BYTES).close()
    frames = LmdbFrames(path / "frames", map_bytes=_MAP_BYTES)
    for start in starts:
        frames.commit((entry, b"0") for entry in _entries(start, min(start + CHUNKS_AT_ONCE, num_chunks)))
    frames.close()


_TIERS: Mapping[str, tuple[Callable[[Path, int, Iterable[int]], None], Callable[[Path, int], Tier]]] = {
    "disk tier": (fill_disk, DiskTier),
    "LMDB tier": (_fill_lmdb, LmdbTier),
}
