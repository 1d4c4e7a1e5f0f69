"""MooncakeStore: values as objects of a Mooncake Store, over TCP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from itertools import takewhile
from typing import Concatenate, ParamSpec, TypeVar

import aiohttp
from mooncake.store import MooncakeDistributedStore as Client

from connectors.remote import mooncake_calls as calls
from connectors.remote.mooncake_url import MooncakeAddress
from connectors.remote.store import Buffer, Caps, Health, Listed, RemoteStore
from connectors.remote.waiting_calls import WaitingCalls
from kvstore import TierUnavailable
from kvstore.grouping import groups

P = ParamSpec("P")
T = TypeVar("T")
_THREADS = 8
_PAGE = 512  # keys of a listing whose sizes are asked for at once


class MooncakeStore(RemoteStore):
    """A value's name is the namespace, a colon and the key. This process lends the store no memory.

    The client's calls wait for as long as a node hangs: each runs on one of a few threads, and counts as failed when
    it takes longer than `timeout_s`, or finds all of them waiting. What the store evicts is a miss.
    """

    caps = Caps(max_value_bytes=1 << 30, expires=False, evicts=True)

    def __init__(self, address: MooncakeAddress, timeout_s: float) -> None:
        self.url, self._address, self._timeout_s = address.shown, address, timeout_s
        self._start = f"{address.namespace}:"
        self._waiting = WaitingCalls(self.url, _THREADS, timeout_s)
        self._connecting: asyncio.Task[Client] | None = None

    async def sizes(self, keys: Sequence[str]) -> list[int]:
        """In two round trips to the master, in one where nothing is there."""
        found = await self._ask(calls.sizes, self._names(keys)) if keys else []
        return list(takewhile(bool, found))

    async def get_into(self, key: str, buffer: memoryview) -> bool:
        value = await self._ask(calls.read, self._start + key, len(buffer))
        if value is None:
            return False
        buffer[:] = value
        return True

    async def peek(self, keys: Sequence[str], num_bytes: int) -> list[bytes | None]:
        return await self._ask(calls.first_bytes, self._names(keys), num_bytes) if keys else []

    async def put(self, key: str, parts: Sequence[Buffer], ttl_s: float | None = None) -> bool:
        return await self._ask(calls.put, self._start + key, parts)

    async def delete(self, keys: Sequence[str]) -> None:
        if keys:
            await self._ask(calls.delete, self._names(keys))

    async def listed(self, start: str = "") -> AsyncIterator[Listed]:
        """The master lists all keys of everybody, at its HTTP port."""
        begins = self._start + start
        for page in groups([name for name in await self._all_names() if name.startswith(begins)], lambda _: 1, _PAGE):
            for name, size in zip(page, await self._ask(calls.sizes, page), strict=True):
                if size:
                    yield Listed(name.removeprefix(self._start), size)

    async def _all_names(self) -> list[str]:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(self._timeout_s), raise_for_status=True) as session,
                session.get(self._address.keys_url) as answer,
            ):
                return (await answer.text()).splitlines()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TierUnavailable(f"{self._address.keys_url} does not list: {type(error).__name__}") from error

    async def health(self) -> Health:
        await self._ask(calls.sizes, self._names(["health"]))
        return Health("Mooncake Store")

    async def aclose(self) -> None:
        """A client that is closed while it waits brings the process down: one that hangs stays as it is."""
        if self._client is not None and self._waiting.is_idle:
            with suppress(TierUnavailable):
                await self._waiting.ask(self._client.close)
        self._connecting = None
        self._waiting.close()

    def _names(self, keys: Sequence[str]) -> list[str]:
        return [self._start + key for key in keys]

    async def _ask(self, call: Callable[Concatenate[Client, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        client = self._client
        if client is None:
            if self._connecting is None or self._connecting.done():
                self._connecting = asyncio.create_task(self._connect())
            client = await asyncio.shield(self._connecting)  # for others, when who asked waits no longer
        return await self._waiting.ask(call, client, *args, **kwargs)

    @property
    def _client(self) -> Client | None:
        """None before it is connected."""
        task = self._connecting
        return None if task is None or not task.done() or task.cancelled() or task.exception() else task.result()

    async def _connect(self) -> Client:
        """Where nobody listens is found out first: the client would try for a minute and a half."""
        try:
            async with asyncio.timeout(self._timeout_s):
                _, writer = await asyncio.open_connection(self._address.host, self._address.port)
        except (OSError, TimeoutError) as error:
            raise TierUnavailable(f"{self.url} cannot be reached: {type(error).__name__}") from error
        local_host = writer.get_extra_info("sockname")[0]
        writer.close()
        return await self._waiting.ask(calls.connected, local_host, self._address.master)
