"""RedisStore: values as strings of Redis or Valkey, of one server or a cluster, through redis-py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from itertools import takewhile
from typing import Any

from redis.exceptions import RedisError

from connectors.remote.redis_parts import Parts
from connectors.remote.redis_url import RedisAddress
from connectors.remote.store import Buffer, Caps, Health, Listed, RemoteStore
from kvstore import TierUnavailable

_CONNECTIONS = 16  # each value has one to itself while it is on its way, so that a large one holds up no other
_PAGE = 512  # keys of a listing whose sizes are asked for at once
_WRONG_TYPE = "WRONGTYPE"  # somebody's hash or list under a name of ours: no value


class RedisStore(RemoteStore):
    """A value's name is the namespace, a colon and the key. What the server evicts, or has expired, is a miss."""

    caps = Caps(max_value_bytes=512 << 20, expires=True, evicts=True)

    def __init__(self, address: RedisAddress, timeout_s: float) -> None:
        self.url, self._start = address.shown, f"{address.namespace}:"
        self._redis, self._cluster = address.client(timeout_s, _CONNECTIONS), address.cluster
        self._timeout_s, self._db = timeout_s, f"db{address.db}"
        self._failed, self._nodes_known, self._asking = False, not address.cluster, asyncio.Lock()
        self._free = asyncio.Semaphore(_CONNECTIONS)

    async def sizes(self, keys: Sequence[str]) -> list[int]:
        """In one pipeline; of a cluster in one to each node, all at once."""
        sizes = await self._each([("STRLEN", self._start + key) for key in keys])
        return [_sound(size) for size in takewhile(lambda size: size != 0, sizes)]

    async def get_into(self, key: str, buffer: memoryview) -> bool:
        value = await self._one("GET", self._start + key)
        if not value or len(value) != len(buffer):
            return False
        buffer[:] = value
        return True

    async def peek(self, keys: Sequence[str], num_bytes: int) -> list[bytes | None]:
        found = await self._each([("GETRANGE", self._start + key, 0, num_bytes - 1) for key in keys])
        return [_sound(value) or None for value in found]

    async def put(self, key: str, parts: Sequence[Buffer], ttl_s: float | None = None) -> bool:
        expiry = () if ttl_s is None else ("PX", max(1, round(1000 * ttl_s)))
        value = b"".join(parts) if self._cluster else Parts(parts)
        return bool(await self._one("SET", self._start + key, value, "NX", *expiry))

    async def delete(self, keys: Sequence[str]) -> None:
        for outcome in await self._each([("UNLINK", self._start + key) for key in keys]):
            _sound(outcome)

    async def listed(self, start: str = "") -> AsyncIterator[Listed]:
        seen = set[str]()  # a scan may come by twice
        page: list[str] = []
        await self._ready()
        names = aiter(self._redis.scan_iter(match=f"{self._start}{start}*", count=_PAGE))
        while name := await self._asked(anext(names, None)):
            if (key := name.decode().removeprefix(self._start)) not in seen:
                seen.add(key)
                page.append(key)
            if len(page) == _PAGE:
                for each in await self._sized(page):
                    yield each
                page = []
        for each in await self._sized(page):
            yield each

    async def _sized(self, keys: Sequence[str]) -> list[Listed]:
        """Those that are still there."""
        sizes = await self._each([("STRLEN", self._start + key) for key in keys])
        return [Listed(key, size) for key, size in zip(keys, map(_sound, sizes), strict=True) if size]

    async def health(self) -> Health:
        """Of a cluster, that of its nodes together; after a failure it is first asked who they are now."""
        if self._cluster and self._failed:
            await self._asked(self._redis.aclose())
            self._nodes_known = False
        await self._ready()
        found = await self._asked(self._redis.info(**({"target_nodes": "primaries"} if self._cluster else {})))
        self._failed = False
        nodes = [found] if "redis_version" in found else list(found.values())
        version = nodes[0].get("valkey_version") or nodes[0]["redis_version"]
        used, most = (sum(node[name] for node in nodes) for name in ("used_memory", "maxmemory"))
        return Health(str(version), used, most or None, sum(node.get(self._db, {}).get("keys", 0) for node in nodes))

    async def aclose(self) -> None:
        await self._redis.aclose()

    async def _ready(self) -> None:
        """Asks a cluster who its nodes are, once: calls that did so at once would close each other's connections."""
        if not self._nodes_known:
            async with self._asking:
                if not self._nodes_known:
                    await self._asked(self._redis.initialize())
                    self._nodes_known = True

    async def _one(self, *command: Any) -> Any:
        """The answer; None where the value is somebody else's."""
        await self._ready()
        async with self._free:
            answer = await self._asked(self._redis.execute_command(*command), returned=_WRONG_TYPE)
        return None if isinstance(answer, Exception) else answer

    async def _each(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The answers, an error where there was one; 0 where the value is somebody else's."""
        if not commands:
            return []
        pipeline = self._redis.pipeline(**({} if self._cluster else {"transaction": False}))
        for command in commands:
            pipeline.execute_command(*command)
        await self._ready()
        async with self._free:
            answers = await self._asked(pipeline.execute(raise_on_error=False))
        return [0 if str(answer).startswith(_WRONG_TYPE) else answer for answer in answers]

    async def _asked(self, answer: Awaitable[Any], returned: str | None = None) -> Any:
        """Raises TierUnavailable for an error, unless it begins with what is to be `returned`."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except (RedisError, OSError, TimeoutError) as error:
            if returned is not None and str(error).startswith(returned):
                return error
            self._failed = True
            raise TierUnavailable(f"{self.url}: {type(error).__name__}: {error}") from error


def _sound(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise TierUnavailable(f"a Redis server refuses: {type(answer).__name__}: {answer}") from answer
    return answer
