"""How long the sidecar takes to say what it holds of a prompt of 32 chunks, with many chunks in its store.

The store holds no frames: its index is filled through its own changes (`benchmarks.disk_index_speed`), and the memory
tier before it, which is asked first, is empty.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from benchmarks.disk_index_speed import CHUNKS_AT_ONCE, FRAME_BYTES, PROMPT_CHUNKS, fill_disk, prompt
from benchmarks.sidecar_clients import ClientProcess, Done, Task
from benchmarks.sidecar_servers import Address, Sidecar

_MEMORY_BYTES = 64 << 20
_NUM_PROMPTS = 2000


def match_speed(
    directory: Path, clients: Sequence[ClientProcess], num_chunks: int, num_matches: int, num_clients: Sequence[int]
) -> list[dict[str, Any]]:
    """A row for each number of clients and each kind of socket."""
    with Progress() as progress:
        starts = range(0, num_chunks, CHUNKS_AT_ONCE)
        fill_disk(directory / "store", num_chunks, progress.track(starts, description=f"{num_chunks} chunks"))
    requests = directory / "requests"
    requests.write_bytes(b"\n".join(_requests(num_chunks)))
    rows = []
    with Sidecar(directory, _MEMORY_BYTES, 2 * num_chunks * FRAME_BYTES) as server:
        for count in num_clients:
            for over, address in server.addresses().items():
                done = _matched(clients[:count], address, requests, num_matches)
                rows.append(_row(num_chunks, over, done))
    return rows


def _requests(num_chunks: int) -> list[bytes]:
    chosen = random.Random(0)
    numbers = [chosen.randrange(num_chunks // PROMPT_CHUNKS) for _ in range(_NUM_PROMPTS)]
    return [json.dumps({"keys": [str(key) for key in prompt(number)]}).encode() for number in numbers]


def _matched(clients: Sequence[ClientProcess], address: Address, requests: Path, num_matches: int) -> list[Done]:
    for number, client in enumerate(clients):
        client.prepare(Task("match", address, [], 0.0, num_matches, bodies=str(requests), seed=number))
    for client in clients:
        client.start()
    return [client.done() for client in clients]


def _row(num_chunks: int, over: str, done: Sequence[Done]) -> dict[str, Any]:
    step_s = np.concatenate([each.step_s["match"] for each in done])
    return {
        "corpus": f"match of {PROMPT_CHUNKS} chunks",
        "chunks": num_chunks,
        "over": over,
        "clients": len(done),
        "p50_ms": 1e3 * float(np.quantile(step_s, 0.5)),
        "p99_ms": 1e3 * float(np.quantile(step_s, 0.99)),
        "max_ms": 1e3 * float(step_s.max()),
        "matches_per_s": sum(len(each.step_s["match"]) / each.seconds for each in done),
    }
