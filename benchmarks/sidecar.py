"""Is the sidecar as fast as servers that do less?

Frames of 256 KiB, 1 MiB and 4 MiB are got from it and put to it by 1 client and by 8, beside nginx, which serves the
same frames as files from the page cache, Redis, which has them as values in memory and writes nothing to a disk, and a
server that does nothing (`benchmarks.byte_server`), all in one run: in every round each has a turn. Rates are medians
over the rounds and, where they stand beside another's, medians of the rounds' ratios. The sidecar is `kvstore serve`
with a memory tier and a disk tier on the directory's disk: frames are put as a prompt's, each behind the one before it,
and acknowledged when memory has them, to be written to disk behind, or, `durable`, when the disk has them; `in memory`
is one without a disk tier, which does what Redis does. Clients are processes with one connection each, bound to one
half of the cores; the same one (`benchmarks.http_connection`) asks all that speak HTTP, redis-py with hiredis asks
Redis.

A descriptor's reader asks over the Unix socket where a prompt of 32 frames lies, copies each from there, mapped or
(`read`) by preadv, compares its checksum and ends the lease; beside it stand bodies of the same frames that are
compared as well.

Then how long a match takes with a million chunks in the store, and a soak.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.disk_directory import scratch_directory
from benchmarks.report import Check, at_least, at_most, parser, publish
from benchmarks.sidecar_bodies import Bodies
from benchmarks.sidecar_clients import ClientProcess
from benchmarks.sidecar_match import match_speed
from benchmarks.sidecar_servers import Nginx, Nothing, Redis, ServerProcess, Sidecar
from benchmarks.sidecar_soak import soak

_MIB = 1 << 20
_NUM_CLIENTS = 1, 8
_MEMORY_BYTES, _DISK_BYTES = 1 << 30, 4 << 30


@dataclass(frozen=True)
class Size:
    """How much is done."""

    frame_bytes: tuple[int, ...]
    held_bytes: int
    """Of frames of one size that every server holds."""
    num_rounds: int
    turn_s: float
    num_chunks: int
    num_matches: int
    soak_s: float


FULL = Size((_MIB // 4, _MIB, 4 * _MIB), 64 * _MIB, 7, 1.0, 10**6, 4000, 600.0)
QUICK = Size((_MIB,), 64 * _MIB, 3, 0.1, 10**4, 500, 10.0)


def main() -> None:
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--path", type=Path, default=Path(), help="a directory on the disk to measure")
    options.add_argument("--soak", type=float, metavar="SECONDS", help="for how long; 0: not at all")
    arguments = options.parse_args()
    size = QUICK if arguments.quick else FULL
    soak_s = size.soak_s if arguments.soak is None else arguments.soak
    with scratch_directory(arguments.path) as directory:
        rows, checks = measured(directory, size, soak_s)
    publish("sidecar", rows, checks, arguments.json)


def measured(directory: Path, size: Size, soak_s: float) -> tuple[list[dict[str, Any]], list[Check]]:
    """All tables and checks."""
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        cores = _client_cores()
        clients = [stack.enter_context(ClientProcess(cores)) for _ in range(max(_NUM_CLIENTS))]
        with _servers(directory) as servers:
            for frame_bytes in size.frame_bytes:
                bodies = Bodies(servers, clients, directory / "frames", frame_bytes)
                bodies.fill(size.held_bytes // frame_bytes)
                rows += bodies.measured(size.num_rounds, size.turn_s, _NUM_CLIENTS)
        checks = _body_checks(rows)
        of_match = match_speed(directory / "match", clients, size.num_chunks, size.num_matches, _NUM_CLIENTS)
        rows += of_match
        checks += _match_checks(of_match)
        if soak_s:
            of_soak, more_checks = soak(directory / "soak", clients, soak_s)
            rows += of_soak
            checks += more_checks
    return rows, checks


@contextmanager
def _servers(directory: Path) -> Iterator[Mapping[str, ServerProcess]]:
    """Those that are installed."""
    with ExitStack() as stack:
        servers: list[ServerProcess] = [
            Sidecar(directory / "sidecar", _MEMORY_BYTES, _DISK_BYTES),
            Sidecar(directory / "in memory", _MEMORY_BYTES, 0),
            Nothing(directory / "nothing"),
        ]
        if Nginx.installed():
            servers.append(Nginx(directory / "nginx", directory / "frames"))
        if Redis.installed():
            servers.append(Redis(directory / "redis"))
        yield {server.name: stack.enter_context(server) for server in servers}


def _client_cores() -> set[int]:
    """The last half, so that the first is whoever serves'."""
    cores = sorted(os.sched_getaffinity(0))
    return set(cores[len(cores) // 2 :])


def _body_checks(rows: Sequence[Mapping[str, Any]]) -> list[Check]:
    bars = {"GET": ("tcp", 0.9), "PUT": ("tcp", 0.7), "descriptors": ("unix", 4.0)}
    checks = []
    for row in rows:
        over, bar = bars.get(row["verb"], ("", 0.0))
        if row["way"] == f"sidecar, {over}" and row["corpus"].startswith("1024 ") and row["of_it"] is not None:
            name = f"{row['verb']} of 1 MiB, {row['clients']} clients, of {row['beside']}"
            checks.append(at_least(name, row["of_it"], bar))
    return checks


def _match_checks(rows: Sequence[Mapping[str, Any]]) -> list[Check]:
    return [
        at_most(f"match among {row['chunks']} chunks over {row['over']}, p99 ms", row["p99_ms"], 3.0)
        for row in rows
        if row["clients"] == 1
    ]


if __name__ == "__main__":
    main()
