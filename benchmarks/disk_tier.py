"""Is the disk tier as fast as the disk?

The same values to every way in turn, a put and then its gets in each round, in one run: through the tier, through
the LMDB tier, into one file each, and with no store at all to the raw disk (O_DIRECT, with and without fdatasync).
Read cold means that every file was synced, closed and dropped from the page cache; the tier and the raw disk go
past that cache and read from the disk every time. Rates are medians over the rounds, and what stands beside the
raw disk's is the median of the rounds' ratios.

Then prompts that fill a store, overwritten at random with values of other lengths; how long it takes to open
stores of many chunks and to match a prompt in them (`benchmarks.disk_index_speed`); and a hit in the memory tier
beside copying the frame from where it lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.disk_directory import scratch_directory
from benchmarks.disk_index_speed import index_speed
from benchmarks.disk_speed import Timings, keep_values, memory_hits, overwrite
from benchmarks.disk_ways import WAYS
from benchmarks.report import Check, at_least, at_most, parser, publish

_MIB = 1 << 20
_VALUE_BYTES = (_MIB, _MIB // 4)


@dataclass(frozen=True)
class Size:
    """How much is done."""

    put_bytes: int
    num_rounds: int
    capacity_bytes: int
    chunks: tuple[int, ...]
    num_passes: int


FULL = Size(32 * _MIB, 10, 1 << 30, (10**3, 10**4, 10**5, 10**6), 40)
QUICK = Size(24 * _MIB, 4, 96 * _MIB, (10**3, 10**4, 10**5), 15)


def main() -> None:
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--path", type=Path, default=Path(), help="a directory on the disk to measure")
    arguments = options.parse_args()
    with scratch_directory(arguments.path) as directory:
        rows, checks = measured(directory, QUICK if arguments.quick else FULL)
    publish("disk_tier", rows, checks, arguments.json)


def measured(directory: Path, size: Size) -> tuple[list[dict[str, Any]], list[Check]]:
    """All tables and checks; nothing is left in the directory."""
    rows: list[dict[str, Any]] = []
    checks = []
    for value_bytes in _VALUE_BYTES:
        kept = keep_values(directory, value_bytes, size.put_bytes, size.num_rounds)
        of_size = _value_rows(kept, value_bytes, size.put_bytes)
        rows += of_size
        checks += _value_checks(of_size) if value_bytes == _MIB else []
    rows += overwrite(directory, size.capacity_bytes, _MIB)
    of_index = index_speed(directory, size.chunks)
    of_memory = [memory_hits(value_bytes, size.num_passes) for value_bytes in _VALUE_BYTES]
    rows += [*of_index, *of_memory]
    return rows, [*checks, *_memory_checks(of_memory), *_index_checks(of_index)]


def _value_rows(kept: Mapping[str, Timings], value_bytes: int, put_bytes: int) -> list[dict[str, Any]]:
    def row(name: str, timings: Timings) -> dict[str, Any]:
        raw = kept["raw, durable" if WAYS[name].is_durable else "raw"]
        return {
            "corpus": f"{value_bytes >> 10} KiB",
            "way": name,
            "durable": WAYS[name].is_durable,
            "put_mib": put_bytes >> 20,
            "write_gb_s": put_bytes / float(np.median(timings.put_s)) / 1e9,
            "of_raw": float(np.median(np.divide(raw.put_s, timings.put_s))),
            **_of_reads("warm", timings.warm_s, value_bytes),
            **_of_reads("cold", timings.cold_s, value_bytes),
            "cold_of_raw": float(np.median(np.divide(_sums(raw.cold_s), _sums(timings.cold_s)))),
        }

    return [row(name, timings) for name, timings in kept.items()]


def _of_reads(kind: str, seconds: Sequence[Sequence[float]], value_bytes: int) -> dict[str, float]:
    each = np.concatenate(seconds)
    return {
        f"{kind}_gb_s": len(seconds[0]) * value_bytes / float(np.median(_sums(seconds))) / 1e9,
        f"{kind}_p50_ms": 1e3 * float(np.quantile(each, 0.5)),
        f"{kind}_p99_ms": 1e3 * float(np.quantile(each, 0.99)),
    }


def _sums(seconds: Sequence[Sequence[float]]) -> list[float]:
    return [sum(of_round) for of_round in seconds]


def _value_checks(rows: Sequence[Mapping[str, Any]]) -> list[Check]:
    tier = next(row for row in rows if row["way"] == "disk tier")
    return [
        at_least("durable write of 1 MiB values, of the raw disk", tier["of_raw"], 0.8, 0.95),
        at_least("cold read of 1 MiB values, of the raw disk", tier["cold_of_raw"], 0.8, 0.95),
    ]


def _memory_checks(rows: Sequence[Mapping[str, Any]]) -> list[Check]:
    return [at_least("1 MiB from RAM, of memcpy", rows[0]["of_memcpy"], 0.6, 0.9)]


def _index_checks(rows: Sequence[Mapping[str, Any]]) -> list[Check]:
    largest = max((row for row in rows if row["tier"] == "disk tier"), key=lambda row: int(row["chunks"]))
    return [
        at_most(f"matching 32 of {largest['chunks']} chunks, us", largest["match_32_p50_us"], 100.0),
        at_most(f"opening {largest['chunks']} chunks, index in the page cache, ms", largest["open_warm_ms"], 50.0),
        at_most(f"opening {largest['chunks']} chunks, index read from the disk, ms", largest["open_cold_ms"], 50.0),
    ]


if __name__ == "__main__":
    main()
