"""What a fault of the server costs a request: how much later its first token comes than without a remote tier.

The store is the one that settings with nothing but `remote.url` describe. A request looks a prompt up, plans, and loads
what it is to load; that is what it waits for and would not without the tier. Off that goes what computing the loaded
tokens would have taken, as the model's prefills measured in the same run say. What is loaded is compared, bit for bit,
with what was saved.

A fault begins somewhere in the middle of a request, and several more follow while it lasts. Then it is mended, and the
next one waits until the tier gives back everything.
"""

from __future__ import annotations

import random
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.remote_servers import RedisServer
from benchmarks.shaped_link import PERFECT, Condition, Link
from codec import KVArray, KVSpec
from connectors.setting_tables import DiskSettings, MemorySettings, RemoteSettings, StoreSettings
from connectors.settings import Settings, build_store
from kvstore import KVStore

DEADLINE_S, SLACK_S = RemoteSettings.deadline_s, 0.02
_MENDED_S = 30.0
_SLOWER = 3.0  # than computing
_FLAPS_S = 0.02, 0.2
_UNSEEN_TOKENS = 10_000


@dataclass(frozen=True)
class Prompts:
    """Of one length, each with its KV, and what computing tokens takes."""

    spec: KVSpec
    token_ids: Sequence[Sequence[int]]
    kv: Sequence[KVArray]
    prefill_s: Mapping[int, float]
    """Seconds to the first token of so many tokens, computed."""

    def num_whole(self, chunk_tokens: int) -> int:
        """Tokens of each in whole chunks."""
        return len(self.token_ids[0]) // chunk_tokens * chunk_tokens


@dataclass
class Bench:
    """A server, a link to it, and a store behind that link which holds the prompts there and nowhere else."""

    server: RedisServer
    link: Link
    store: KVStore
    prompts: Prompts
    kept: Mapping[bytes, bytes] = field(default_factory=dict)
    """All that the server held when all was well."""

    def slow(self) -> float:
        """Bytes per second at which getting takes longer than computing."""
        chunk_bytes = statistics.mean(map(len, self.kept.values()))
        return (
            chunk_bytes
            / self.store.cost.spared_s(self.prompts.spec.fingerprint(), self.store.chunk_tokens, 0)
            / _SLOWER
        )

    def refill(self) -> None:
        self.server.client().mset(dict(self.kept))


@contextmanager
def bench(server: RedisServer, prompts: Prompts) -> Iterator[Bench]:
    """Filled, and with everything measured that the store plans by."""
    with Link(server.tcp[1]) as link, _store(server.directory, server.url(link.port), prompts) as store:
        client = server.client()
        server.empty()
        for token_ids, kv in zip(prompts.token_ids, prompts.kv, strict=True):
            store.save(store.identity(prompts.spec), token_ids, kv)
        made = Bench(server, link, store, prompts)
        _wait_until(lambda: _all_come(made), "the prompts are there")
        names = client.keys("*")
        made.kept = dict(zip(names, client.mget(names), strict=True))
        yield made


def _store(directory: Path, url: str, prompts: Prompts) -> KVStore:
    settings = Settings(
        store=StoreSettings(directory / "store", codec="lossless"),
        memory=MemorySettings(0),
        disk=DiskSettings(0),
        remote=RemoteSettings(url),
    )
    store = build_store(settings, prompts.spec)
    for num_tokens, seconds in prompts.prefill_s.items():
        for _ in range(10):
            store.cost.computed(prompts.spec.fingerprint(), num_tokens, 0, seconds)
    return store


@dataclass(frozen=True)
class Request:
    """How much later its first token was, how many tokens came of those that were held, and whether all were right."""

    later_s: float
    came: float
    right: bool


def _request(bench: Bench, index: int) -> Request:
    store, prompts = bench.store, bench.prompts
    token_ids, kv = prompts.token_ids[index], prompts.kv[index]
    room = KVArray.empty(prompts.spec, len(token_ids))
    started_s = time.perf_counter()
    match = store.match(store.identity(prompts.spec), token_ids)
    loaded = store.load_into(store.plan(match, len(token_ids)), room)
    waited_s = time.perf_counter() - started_s
    spared_s = store.cost.spared_s(prompts.spec.fingerprint(), loaded, 0)
    came = loaded / prompts.num_whole(store.chunk_tokens)
    return Request(waited_s - spared_s, came, _same(room.tokens(0, loaded), kv.tokens(0, loaded)))


def _same(one: KVArray, other: KVArray) -> bool:
    pairs = zip((*one.keys, *one.values), (*other.keys, *other.values), strict=True)
    return all(_bits(mine).equal(_bits(theirs)) for mine, theirs in pairs)


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(torch.uint8)


def _all_come(bench: Bench) -> bool:
    """Whatever the store would plan: so what took long once is measured anew."""
    store, prompts = bench.store, bench.prompts
    matches = [store.match(store.identity(prompts.spec), token_ids) for token_ids in prompts.token_ids]
    loaded = [store.load(match) for match in matches]
    return all(each is not None and each.num_tokens == prompts.num_whole(store.chunk_tokens) for each in loaded)


def _wait_until(holds: Callable[[], bool], what: str) -> float:
    """Seconds that it took. Raises TimeoutError when it does not come to that."""
    began_s = time.monotonic()
    while not holds():
        if time.monotonic() - began_s > _MENDED_S:
            raise TimeoutError(f"not in time: {what}")
        time.sleep(0.02)
    return time.monotonic() - began_s


@contextmanager
def _none(bench: Bench) -> Iterator[None]:
    yield


@contextmanager
def _hung(bench: Bench) -> Iterator[None]:
    bench.server.send(signal.SIGSTOP)
    yield
    bench.server.send(signal.SIGCONT)


@contextmanager
def _killed(bench: Bench) -> Iterator[None]:
    bench.server.send(signal.SIGKILL)
    yield
    bench.server.__exit__(None, None, None)
    bench.server.__enter__()
    bench.refill()


@contextmanager
def _slow(bench: Bench) -> Iterator[None]:
    bench.link.be(Condition(bytes_per_s=bench.slow()))
    yield
    bench.link.be(PERFECT)


@contextmanager
def _flapping(bench: Bench) -> Iterator[None]:
    """Away, back, cut in the middle of answers, back."""
    ended, chosen = threading.Event(), random.Random(0)
    conditions = [Condition(broken=True), PERFECT, Condition(cut_after_bytes=1 << 20), PERFECT]

    def flap() -> None:
        turn = 0
        while not ended.is_set():
            bench.link.be(conditions[turn % len(conditions)])
            turn += 1
            ended.wait(chosen.uniform(*_FLAPS_S))

    thread = threading.Thread(target=flap)
    thread.start()
    yield
    ended.set()
    thread.join()
    bench.link.be(PERFECT)


@contextmanager
def _full(bench: Bench) -> Iterator[None]:
    """Of what others put there: writes are refused, among them those of a prompt nobody has seen."""
    client = bench.server.client()
    client.config_set("maxmemory", client.info("memory")["used_memory"])
    prompts, store = bench.prompts, bench.store
    unseen = [token + random.randrange(_UNSEEN_TOKENS) for token in prompts.token_ids[0]]
    store.save(store.identity(prompts.spec), unseen, prompts.kv[0])
    yield
    client.config_set("maxmemory", 0)


@contextmanager
def _damaged(bench: Bench) -> Iterator[None]:
    """One byte of every value is another."""
    client = bench.server.client()
    for name, value in bench.kept.items():
        place = random.randrange(len(value))
        client.set(name, value[:place] + bytes([value[place] ^ 1]) + value[place + 1 :])
    yield
    bench.refill()


FAULTS: Mapping[str, Callable[[Bench], Any]] = {
    "none": _none,
    "hung": _hung,
    "killed": _killed,
    "slow": _slow,
    "flapping": _flapping,
    "full": _full,
    "damaged": _damaged,
}


def fault_costs(
    server: RedisServer, prompts: Prompts, num_times: int, requests: int, apart_s: float
) -> list[dict[str, Any]]:
    """A row for every fault, which comes so many times, for so many requests each time."""
    with bench(server, prompts) as made:
        typical_s = statistics.median(_timed(made) for _ in range(3))
        return [
            _row(name, [_time(made, name, requests, apart_s, typical_s) for _ in range(num_times)]) for name in FAULTS
        ]


def _timed(made: Bench) -> float:
    started_s = time.perf_counter()
    _request(made, 0)
    return time.perf_counter() - started_s


@dataclass(frozen=True)
class _Time:
    """That a fault came."""

    requests: Sequence[Request]
    back_s: float
    """After it was mended, until everything came again."""


def _time(made: Bench, name: str, num_requests: int, apart_s: float, typical_s: float) -> _Time:
    fault, requests = FAULTS[name](made), []
    begins = threading.Timer(random.uniform(0, typical_s), fault.__enter__)
    begins.start()
    for number in range(num_requests):
        requests.append(_request(made, number % len(made.prompts.token_ids)))
        begins.join()
        time.sleep(apart_s)
    fault.__exit__(None, None, None)
    return _Time(requests, _wait_until(lambda: _all_come(made), f"it is well again after {name}"))


def _row(name: str, times: Sequence[_Time]) -> dict[str, Any]:
    requests = [request for each in times for request in each.requests]
    later_ms = [1e3 * request.later_s for request in requests]
    return {
        "fault": name,
        "requests": len(requests),
        "later_p50_ms": statistics.median(later_ms),
        "later_p99_ms": float(np.percentile(later_ms, 99)),
        "later_max_ms": max(later_ms),
        "deadline_ms": 1e3 * DEADLINE_S,
        "missed": 1 - statistics.mean(request.came for request in requests),
        "wrong": sum(not request.right for request in requests),
        "back_s": statistics.median(each.back_s for each in times),
    }
