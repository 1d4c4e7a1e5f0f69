"""A long while of everything at once: eight clients put, get, match and delete the same frames, more than the tiers
have room for, so that what is not deleted is dropped to make room. Every frame that is got is compared.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from benchmarks.report import Check, at_most
from benchmarks.sidecar_clients import ClientProcess, Task
from benchmarks.sidecar_frames import write_frames
from benchmarks.sidecar_servers import Sidecar

_MEMORY_BYTES, _DISK_BYTES = 128 << 20, 256 << 20
_FRAMES: Mapping[int, int] = {256 << 10: 96, 1 << 20: 96, 4 << 20: 48}
"""How many of which length: 312 MiB together."""
_SAMPLE_S = 1.0
_MOST_GROWTH = 1.10


def soak(directory: Path, clients: Sequence[ClientProcess], seconds: float) -> tuple[list[dict[str, Any]], list[Check]]:
    """The server's memory is looked at every second: once warm, it grows no more."""
    keys = [
        key
        for size_bytes, number in _FRAMES.items()
        for key in write_frames(directory / "frames", f"soak {size_bytes}", size_bytes, number)
    ]
    with Sidecar(directory, _MEMORY_BYTES, _DISK_BYTES) as server:
        for number, client in enumerate(clients):
            task = Task("mixture", server.unix, keys, seconds, frames=str(directory / "frames"), seed=number)
            client.prepare(task if number % 2 else Task(**{**vars(task), "address": server.tcp}))
        for client in clients:
            client.start()
        resident = _watched(server, seconds)
        done = [client.done() for client in clients]
        still_s = server.cpu_s()
    steps: Counter[str] = Counter()
    for each in done:
        steps.update({what: len(taken_s) for what, taken_s in each.step_s.items()})
    row = _row(steps, resident, sum(each.num_bytes for each in done), seconds, still_s)
    return [row], _checks(row)


def _watched(server: Sidecar, seconds: float) -> list[int]:
    """Resident bytes, sample by sample."""
    samples = []
    with Progress() as progress:
        for _ in progress.track(range(max(4, round(seconds / _SAMPLE_S))), description="soak"):
            time.sleep(_SAMPLE_S)
            samples.append(server.resident_bytes())
    return samples


def _row(steps: Counter[str], resident: Sequence[int], num_bytes: int, seconds: float, cpu_s: float) -> dict[str, Any]:
    quarter = len(resident) // 4
    warm, late = max(resident[quarter : 2 * quarter]), max(resident[2 * quarter :])
    return {
        "corpus": "soak",
        "seconds": seconds,
        "requests": sum(steps.values()) - steps["wrong"],
        "gb": num_bytes / 1e9,
        "server_cpu_s": cpu_s,
        "answers": ", ".join(f"{what}: {number}" for what, number in sorted(steps.items())),
        "failed": sum(number for what, number in steps.items() if what.split()[-1].startswith("5")),
        "wrong": steps["wrong"],
        "resident_p50_mib": float(np.median(resident)) / 2**20,
        "resident_max_mib": max(resident) / 2**20,
        "last_half_of_second_quarter": late / warm,
    }


def _checks(row: Mapping[str, Any]) -> list[Check]:
    return [
        at_most("soak: answers of 5xx", row["failed"], 0),
        at_most("soak: frames with other bytes", row["wrong"], 0),
        at_most(
            "soak: memory in the last half, of the second quarter", row["last_half_of_second_quarter"], _MOST_GROWTH
        ),
    ]
