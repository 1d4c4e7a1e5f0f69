"""Values of one size, put into and got out of one server: by the bare client library, by our store, by our tier.

All have a turn in every round, on values of their own. A turn moves every value once, shared out among the clients:
tasks of one event loop, which is how both libraries serve many, and threads for the tier, as engines have them. The
tier checks what comes, and gets ahead what follows; a put counts when the server has it.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import redis.asyncio

from benchmarks.disk_speed import key_of
from benchmarks.remote_servers import RedisServer, SeaweedFS
from benchmarks.shaped_link import Condition, Link
from connectors.remote.opening import open_remote, open_store
from connectors.remote.remote_tier import RemoteTier
from connectors.remote.value import HEADER_BYTES
from kvstore import ChunkKey

Server = RedisServer | SeaweedFS
_MIB = 1 << 20
_PATIENCE_S = 60.0  # nothing is given up here
_PREFIX_CHUNKS, _PREFIX_BYTES = 32, 16 << 10
_FAR_S = 0.02  # one way


class _Way(ABC):
    """How values get there and back."""

    name: str
    is_bare = False

    @abstractmethod
    def put(self, contents: Sequence[memoryview], num_clients: int) -> None:
        """Each under a name of its own."""

    @abstractmethod
    def get(self, num_clients: int) -> int:
        """All that was put last; how many bytes that is."""

    @abstractmethod
    def close(self) -> None:
        """Ends its connections."""


class _InLoop(_Way):
    """Asked from an event loop."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._names: list[str] = []
        self._rooms: list[memoryview] = []

    def put(self, contents: Sequence[memoryview], num_clients: int) -> None:
        self._sizes = {f"{self.name}/{index}": len(content) for index, content in enumerate(contents)}
        self._names = list(self._sizes)
        of_name = dict(zip(self._names, contents, strict=True))
        self._runner.run(self._shared_out(num_clients, lambda client, name: self._put(name, of_name[name])))

    def get(self, num_clients: int) -> int:
        most = max(self._sizes.values())
        if len(self._rooms) < num_clients or len(self._rooms[0]) < most:
            self._rooms = [np.empty(most, np.uint8).data for _ in range(num_clients)]
        return sum(self._runner.run(self._shared_out(num_clients, self._get)))

    async def _shared_out(self, num_clients: int, act: Callable[[int, str], Awaitable[int]]) -> list[int]:
        async def client(number: int) -> int:
            return sum([await act(number, name) for name in self._names[number::num_clients]])

        return await asyncio.gather(*map(client, range(num_clients)))

    def close(self) -> None:
        self._runner.run(self._aclose())
        self._runner.close()

    @abstractmethod
    async def _put(self, name: str, content: memoryview) -> int: ...

    @abstractmethod
    async def _get(self, client: int, name: str) -> int: ...

    async def _aclose(self) -> None:
        """Nothing to do."""


class _BareRedis(_InLoop):
    name, is_bare = "redis-py", True

    def __init__(self, server: RedisServer) -> None:
        super().__init__()
        self._client: Any = redis.asyncio.Redis(host=server.tcp[0], port=server.tcp[1])

    async def _put(self, name: str, content: memoryview) -> int:
        return len(content) if await self._client.set(name, content) else 0

    async def _get(self, client: int, name: str) -> int:
        return len(await self._client.get(name))

    async def _aclose(self) -> None:
        await self._client.aclose()


class _BareObstore(_InLoop):
    name, is_bare = "obstore", True

    def __init__(self, server: SeaweedFS) -> None:
        super().__init__()
        self._client: Any = server.client()

    async def _put(self, name: str, content: memoryview) -> int:
        await self._client.put_async(name, content)
        return len(content)

    async def _get(self, client: int, name: str) -> int:
        return len(await (await self._client.get_async(name)).bytes_async())


class _OurStore(_InLoop):
    name = "store"

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._store = open_store(server.url(), _PATIENCE_S)

    async def _put(self, name: str, content: memoryview) -> int:
        return len(content) if await self._store.put(name, [content[:HEADER_BYTES], content[HEADER_BYTES:]]) else 0

    async def _get(self, client: int, name: str) -> int:
        room = self._rooms[client][: self._sizes[name]]
        return len(room) if await self._store.get_into(name, room) else 0

    async def _aclose(self) -> None:
        await self._store.aclose()


class _OurTier(_Way):
    name = "tier"

    def __init__(self, server: Server) -> None:
        self._tier = open_remote(server.url(), deadline_s=_PATIENCE_S, in_flight_bytes=1 << 30, queue_bytes=1 << 30)
        self._keys: list[ChunkKey] = []

    def put(self, contents: Sequence[memoryview], num_clients: int) -> None:
        """Its queue has four writers, however many put."""
        self._keys = [key_of(("remote", index)) for index in range(len(contents))]
        self._tier.put(list(zip(self._keys, contents, strict=True)))
        self._tier.flush(_PATIENCE_S)

    def get(self, num_clients: int) -> int:
        with ThreadPoolExecutor(num_clients) as threads:
            return sum(threads.map(self._prompt, (self._keys[number::num_clients] for number in range(num_clients))))

    def _prompt(self, keys: Sequence[ChunkKey]) -> int:
        held = self._tier.match(keys)
        return sum(len(self._tier.get(key) or b"") for key in keys[:held])

    def close(self) -> None:
        self._tier.close()


def speeds(
    server: Server, sizes_bytes: Sequence[int], nums_clients: Sequence[int], moved_bytes: int, num_rounds: int
) -> list[dict[str, Any]]:
    """A row for every verb, size, number of clients and way, with its rate beside the bare library's: medians of the
    rounds."""
    bare: _Way = _BareRedis(server) if isinstance(server, RedisServer) else _BareObstore(server)
    ways = [bare, _OurStore(server), _OurTier(server)]
    rows = []
    try:
        for size_bytes in sizes_bytes:
            contents = _contents(size_bytes, moved_bytes // size_bytes)
            for num_clients in nums_clients:
                rounds = [_round(server, ways, contents, num_clients, number) for number in range(num_rounds + 1)][1:]
                rows += _rows(server, ways, size_bytes, num_clients, rounds)
    finally:
        for way in ways:
            way.close()
    return rows


def _contents(size_bytes: int, number: int) -> list[memoryview]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, size_bytes, np.uint8).data for _ in range(number)]


def _round(
    server: Server, ways: Sequence[_Way], contents: Sequence[memoryview], num_clients: int, number: int
) -> dict[tuple[str, str], float]:
    """GB/s of every way, putting into the empty server and getting; another begins every time."""
    gb_s, num_bytes = {}, sum(map(len, contents))
    first = number % len(ways)
    for way in (*ways[first:], *ways[:first]):
        server.empty()
        started_s = time.perf_counter()
        way.put(contents, num_clients)
        gb_s["put", way.name] = num_bytes / (time.perf_counter() - started_s) / 1e9
        started_s = time.perf_counter()
        if way.get(num_clients) != num_bytes:
            raise RuntimeError(f"{way.name} did not get what it had put")
        gb_s["get", way.name] = num_bytes / (time.perf_counter() - started_s) / 1e9
    return gb_s


def _rows(
    server: Server,
    ways: Sequence[_Way],
    size_bytes: int,
    num_clients: int,
    rounds: Sequence[dict[tuple[str, str], float]],
) -> list[dict[str, Any]]:
    bare = next(way.name for way in ways if way.is_bare)
    return [
        {
            "corpus": server.name,
            "verb": verb,
            "kib": size_bytes >> 10,
            "clients": num_clients,
            "way": way.name,
            "gb_s": statistics.median(each[verb, way.name] for each in rounds),
            "of_bare": None
            if way.is_bare
            else statistics.median(each[verb, way.name] / each[verb, bare] for each in rounds),
        }
        for verb in ("put", "get")
        for way in ways
    ]


def look_ups(server: Server, num_asked: int) -> dict[str, Any]:
    """How long it takes to learn how much of a prompt is there, and how many round trips: by how much longer it takes
    when the server is further away."""
    keys = [key_of(("prefix", index)) for index in range(_PREFIX_CHUNKS)]
    content = memoryview(bytes(_PREFIX_BYTES))
    with Link(server.tcp[1]) as link, open_remote(server.url(link.port), deadline_s=_PATIENCE_S) as tier:
        tier.put([(key, content) for key in keys])
        tier.flush(_PATIENCE_S)
        with open_remote(server.url(), deadline_s=_PATIENCE_S) as near:
            near_s = _match_s(near, keys, num_asked)
        linked_s = _match_s(tier, keys, num_asked)
        link.be(Condition(latency_s=_FAR_S))
        far_s = _match_s(tier, keys, num_asked)
        tier.delete_all(keys)
    return {
        "look-up of": server.name,
        "chunks": _PREFIX_CHUNKS,
        "p50_ms": 1e3 * statistics.median(near_s),
        "p99_ms": 1e3 * float(np.percentile(near_s, 99)),
        "round_trips": (statistics.median(far_s) - statistics.median(linked_s)) / (2 * _FAR_S),
    }


def _match_s(tier: RemoteTier, keys: Sequence[ChunkKey], num_asked: int) -> list[float]:
    taken_s = []
    for _ in range(num_asked + 2):  # the first ones connect
        started_s = time.perf_counter()
        if tier.match(keys) != len(keys):
            raise RuntimeError("not all of a prompt is there")
        taken_s.append(time.perf_counter() - started_s)
    return taken_s[2:]
