"""Frames as bodies, one way beside the other: every way has a turn in every round, on the same frames."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from benchmarks.http_connection import HttpConnection
from benchmarks.sidecar_clients import ClientProcess, Done, Task
from benchmarks.sidecar_frames import write_frames
from benchmarks.sidecar_servers import ServerProcess

_IDLE_S, _SETTLE_S = 0.2, 20.0


@dataclass(frozen=True)
class Way:
    """How frames are moved: by which server, over `tcp` or `unix`, and how clients ask for it."""

    verb: str
    server: str
    over: str
    way: str
    target: str = "/{key}"


_FRAMES = "/v1/frames/{key}"
WAYS = [
    *(Way("GET", "sidecar", over, "get", _FRAMES) for over in ("tcp", "unix")),
    *(Way("GET", "nginx", over, "get") for over in ("tcp", "unix")),
    *(Way("GET", "Redis", over, "Redis get") for over in ("tcp", "unix")),
    *(Way("GET", "nothing", over, "get", "/{size}") for over in ("tcp", "unix")),
    *(Way("PUT", "sidecar", over, "put", f"{_FRAMES}?{{parent}}durable=false") for over in ("tcp", "unix")),
    Way("PUT", "sidecar in memory", "tcp", "put", f"{_FRAMES}?{{parent}}durable=false"),
    Way("PUT durable", "sidecar", "tcp", "put", f"{_FRAMES}?{{parent}}durable=true"),
    *(Way("PUT", "Redis", over, "Redis set") for over in ("tcp", "unix")),
    *(Way("PUT", "nothing", over, "put") for over in ("tcp", "unix")),
    *(Way("checked GET", "sidecar", over, "checked get", _FRAMES) for over in ("tcp", "unix")),
    Way("descriptors", "sidecar", "unix", "descriptors"),
    Way("descriptors, read", "sidecar", "unix", "descriptors, read"),
    Way("one descriptor", "sidecar", "unix", "one descriptor"),
]
_BESIDE = {
    "GET": ("GET", "nginx"),
    "PUT": ("PUT", "Redis"),
    "PUT durable": ("PUT", "Redis"),
    "descriptors": ("checked GET", "sidecar"),
    "descriptors, read": ("checked GET", "sidecar"),
    "one descriptor": ("checked GET", "sidecar"),
}
"""What the sidecar's are held against: verb and server, over the same kind of socket."""


@dataclass
class Turns:
    """What one way came to, round by round."""

    gb_s: list[float] = field(default_factory=list)
    step_s: list[float] = field(default_factory=list)
    server_cpu_s: float = 0.0
    num_bytes: int = 0

    def add(self, done: Sequence[Done], server_cpu_s: float) -> None:
        self.gb_s.append(sum(each.gb_s for each in done))
        self.num_bytes += sum(each.num_bytes for each in done)
        self.server_cpu_s += server_cpu_s
        for each in done:
            self.step_s += [seconds for steps in each.step_s.values() for seconds in steps]


class Bodies:
    """Servers that hold the same frames of one size, and clients."""

    def __init__(
        self, servers: Mapping[str, ServerProcess], clients: Sequence[ClientProcess], frames: Path, size_bytes: int
    ) -> None:
        self._servers, self._clients, self._frames = servers, clients, frames
        self._size_bytes = size_bytes

    def fill(self, number: int) -> None:
        """Has every server hold so many frames to get, and our own give each back as it was put; and as many to put."""
        name = f"{self._size_bytes} bytes"
        self._keys = write_frames(self._frames, name, self._size_bytes, number)
        self._own_keys = write_frames(self._frames, f"{name}, put", self._size_bytes, number)
        for keys in (self._keys, self._own_keys):
            for way in WAYS:
                if way.verb == "PUT" and way.over == "tcp" and way.server in self._servers:
                    task = replace(self._task(way, self._servers[way.server], 0, 1), keys=keys)
                    self._asked([self._clients[0]], [replace(task, least_steps=number)])
                    _settle(self._servers[way.server])
        with HttpConnection(self._servers["sidecar"].tcp, 2 * self._size_bytes) as connection:
            for key in self._keys:
                answer = connection.ask("GET", _FRAMES.format(key=key))
                if answer.status != 200 or answer.body != (self._frames / key).read_bytes():
                    raise RuntimeError(f"the sidecar gave back something else for {key}")
        (described,) = (way for way in WAYS if way.verb == "descriptors")
        task = self._task(described, self._servers["sidecar"], 0, 1)
        self._asked([self._clients[0]], [replace(task, least_steps=number)])  # has the page cache read the segments

    def measured(self, num_rounds: int, seconds: float, num_clients: Sequence[int]) -> list[dict[str, Any]]:
        """A row for each way and number of clients."""
        cells = [(way, count) for count in num_clients for way in WAYS if way.server in self._servers]
        turns = {cell: Turns() for cell in cells}
        with Progress() as progress:
            description = f"{self._size_bytes >> 10} KiB"
            for cell in progress.track(cells * num_rounds, description=description):
                turns[cell].add(*self._turn(*cell, seconds))
        return [self._row(way, count, turns[way, count], turns) for way, count in cells]

    def _turn(self, way: Way, num_clients: int, seconds: float) -> tuple[list[Done], float]:
        server, clients = self._servers[way.server], self._clients[:num_clients]
        tasks = [self._task(way, server, number, num_clients) for number in range(num_clients)]
        cpu_s = server.cpu_s()
        done = self._asked(clients, [replace(task, seconds=seconds) for task in tasks])
        if way.verb.startswith("PUT"):
            _settle(server)
        return done, server.cpu_s() - cpu_s

    def _asked(self, clients: Sequence[ClientProcess], tasks: Sequence[Task]) -> list[Done]:
        for client, task in zip(clients, tasks, strict=True):
            client.prepare(task)
        for client in clients:
            client.start()
        return [client.done() for client in clients]

    def _task(self, way: Way, server: ServerProcess, number: int, num_clients: int) -> Task:
        """Clients read the same frames, each beginning at another, and write each its own."""
        if way.verb.startswith("PUT"):
            keys = self._own_keys[number::num_clients]
        else:
            first = number * len(self._keys) // num_clients
            keys = self._keys[first:] + self._keys[:first]
        target = way.target.replace("{size}", str(self._size_bytes))
        address = server.addresses()[way.over]
        return Task(way.way, address, keys, 0.0, frames=str(self._frames), target=target)

    def _row(self, way: Way, count: int, turns: Turns, of_all: Mapping[tuple[Way, int], Turns]) -> dict[str, Any]:
        verb, server = _BESIDE.get(way.verb, ("", "")) if way.server.startswith("sidecar") else ("", "")
        other = next((each for each in WAYS if (each.verb, each.server, each.over) == (verb, server, way.over)), None)
        beside = of_all.get((other, count)) if other else None
        return {
            "corpus": f"{self._size_bytes >> 10} KiB frames",
            "verb": way.verb,
            "way": f"{way.server}, {way.over}",
            "clients": count,
            "gb_s": float(np.median(turns.gb_s)),
            "p50_ms": 1e3 * float(np.quantile(turns.step_s, 0.5)),
            "p99_ms": 1e3 * float(np.quantile(turns.step_s, 0.99)),
            "server_cpu_s_per_gb": turns.server_cpu_s / turns.num_bytes * 1e9,
            "beside": f"{server} {verb}" if beside else "",
            "of_it": float(np.median(np.divide(turns.gb_s, beside.gb_s))) if beside else None,
        }


def _settle(server: ServerProcess) -> None:
    """Until the server does nothing any more: what it does later is not the next one's to bear."""
    until_s, cpu_s = time.monotonic() + _SETTLE_S, -1.0
    while server.cpu_s() > cpu_s and time.monotonic() < until_s:
        cpu_s = server.cpu_s()
        time.sleep(_IDLE_S)
