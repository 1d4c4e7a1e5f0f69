"""How fast do several processes read a store that another one keeps writing, and is what they read right?

1, 2 and 4 spawned processes each open the store and get chunks at random, while this process does nothing or puts
chunks again, in random order and in one of two versions, as fast as it can: records are replaced, segments cleaned
and unlinked under the readers. Nothing is evicted, so that a miss is as wrong as a frame of other bytes. `checked`
rates are of all readers together and count the time in which each frame's checksum is compared.

The disk tier's readers go past the page cache, to the disk; the LMDB tier's, the control, find all in the cache.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.progress import Progress

from benchmarks.disk_directory import scratch_directory
from benchmarks.reader_process import NUM_CHUNKS, NUM_VERSIONS, ReaderProcess, Reads, Task, frame, key
from benchmarks.report import Check, at_most, parser, publish
from kvstore import DiskTier, LmdbTier, Tier

_NUM_READERS = 1, 2, 4
_CAPACITY_BYTES = 2 * NUM_CHUNKS << 20
_PUT_CHUNKS = 8
_WRITERS: Mapping[str, Callable[[Path, int], Tier]] = {"disk tier": DiskTier, "LMDB tier": LmdbTier}


@dataclass(frozen=True)
class Turn:
    """One measurement: what the readers read, and GB/s of the writer beside them, 0 where nobody wrote."""

    reads: Sequence[Reads]
    put_gb_s: float

    @property
    def checked_gb_s(self) -> float:
        return sum(each.num_bytes / each.seconds for each in self.reads) / 1e9


def main() -> None:
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--path", type=Path, default=Path(), help="a directory on the disk to measure")
    arguments = options.parse_args()
    num_rounds, seconds = (2, 0.8) if arguments.quick else (5, 3.0)
    with scratch_directory(arguments.path) as directory:
        rows = measured(directory, num_rounds, seconds)
    publish("many_processes", rows, checks(rows), arguments.json)


def measured(
    directory: Path, num_rounds: int, seconds: float, num_readers: Sequence[int] = _NUM_READERS
) -> list[dict[str, Any]]:
    """A row for each tier, number of readers, with and without a writer; each has a turn in every round."""
    processes = [ReaderProcess() for _ in range(max(num_readers))]
    frames = [[frame(chunk, version) for version in range(NUM_VERSIONS)] for chunk in range(NUM_CHUNKS)]
    cells = [(name, count, writes) for name in _WRITERS for count in num_readers for writes in (False, True)]
    turns: dict[tuple[str, int, bool], list[Turn]] = {cell: [] for cell in cells}
    try:
        for name in _WRITERS:
            with _WRITERS[name](directory / name, _CAPACITY_BYTES) as tier:
                for chunk, versions in enumerate(frames):
                    tier.put([(key(chunk), versions[0])])
        with Progress() as progress:
            for number, cell in enumerate(progress.track(cells * num_rounds, description="read")):
                name, count, writes = cell
                for seed, process in enumerate(processes[:count], number * len(processes)):
                    process.prepare(Task(name, directory / name, seconds, seed))
                with _WRITERS[name](directory / name, _CAPACITY_BYTES) as tier:
                    turns[cell].append(_turn(tier if writes else None, processes[:count], frames))
    finally:
        for process in processes:
            process.close()
    return [_row(*cell, turns[cell]) for cell in cells]


def _turn(tier: Tier | None, readers: Sequence[ReaderProcess], frames: Sequence[Sequence[bytes]]) -> Turn:
    for reader in readers:
        reader.start()
    put_gb_s = _put_until(tier, lambda: not any(reader.is_busy() for reader in readers), frames) if tier else 0.0
    return Turn([reader.finished() for reader in readers], put_gb_s)


def _put_until(tier: Tier, is_over: Callable[[], bool], frames: Sequence[Sequence[bytes]]) -> float:
    """Puts chunks again until it is over; GB/s."""
    choose, num_bytes, begin = random.Random(0), 0, perf_counter()
    while not is_over():
        for chunk in choose.sample(range(len(frames)), _PUT_CHUNKS):
            content = choose.choice(frames[chunk])
            tier.put([(key(chunk), content)])
            num_bytes += len(content)
    return num_bytes / (perf_counter() - begin) / 1e9


def _row(name: str, num_readers: int, writes: bool, turns: Sequence[Turn]) -> dict[str, Any]:
    reads = [each for turn in turns for each in turn.reads]
    get_s = np.concatenate([each.get_s for each in reads])
    return {
        "tier": name,
        "readers": num_readers,
        "writer": writes,
        "checked_gb_s": float(np.median([turn.checked_gb_s for turn in turns])),
        "put_gb_s": float(np.median([turn.put_gb_s for turn in turns])) if writes else None,
        "get_p50_ms": 1e3 * float(np.quantile(get_s, 0.5)),
        "get_p99_ms": 1e3 * float(np.quantile(get_s, 0.99)),
        "gets": len(get_s),
        "missed": sum(each.num_missed for each in reads),
        "wrong": sum(each.num_wrong for each in reads),
    }


def checks(rows: Sequence[Mapping[str, Any]]) -> list[Check]:
    return [
        at_most(f"{name}, {what}", sum(row[what] for row in rows if row["tier"] == name), 0)
        for name in _WRITERS
        for what in ("missed", "wrong")
    ]


if __name__ == "__main__":
    main()
