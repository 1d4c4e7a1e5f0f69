"""WriteQueue: values on their way to a store, bounded in bytes: for what comes, the oldest that wait are dropped."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from connectors.remote.endpoint import Endpoint
from connectors.remote.store import Buffer
from kvstore import Metrics, TierUnavailable

_log = logging.getLogger(__name__)
_AT_ONCE = 4
_WAIT_S = 0.2  # before a store that is not asked for a while is looked at again


@dataclass(frozen=True)
class Write:
    name: str
    parts: Sequence[Buffer]
    expires_at_s: float
    """Unix seconds, or infinity."""

    @property
    def num_bytes(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def ttl_s(self) -> float | None:
        """Seconds that are left; None for ever."""
        return None if math.isinf(self.expires_at_s) else max(self.expires_at_s - time.time(), 0.001)


class WriteQueue:
    """Of one event loop. A write that fails is dropped as well, and both are counted."""

    def __init__(self, endpoint: Endpoint, metrics: Metrics, capacity_bytes: int) -> None:
        self._endpoint, self._metrics, self.capacity_bytes = endpoint, metrics, capacity_bytes
        self._waiting: OrderedDict[str, Write] = OrderedDict()
        self.waiting_bytes = 0
        self._workers: list[asyncio.Task[None]] = []
        self._under_way = 0
        self._changed = asyncio.Condition()

    async def add(self, writes: Iterable[Write]) -> None:
        async with self._changed:
            for write in writes:
                self._take(write.name)
                self._waiting[write.name] = write
                self.waiting_bytes += write.num_bytes
            while self.waiting_bytes > self.capacity_bytes:
                self._take(next(iter(self._waiting)))
                self._metrics.count("remote_writes_dropped")
            self._changed.notify_all()
        if not self._workers:
            self._workers = [asyncio.create_task(self._work()) for _ in range(_AT_ONCE)]

    async def forget(self, names: Iterable[str]) -> None:
        """They are not written."""
        async with self._changed:
            for name in names:
                self._take(name)

    async def flush(self) -> None:
        """Waits until nothing waits."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._waiting and not self._under_way)

    def _take(self, name: str) -> Write | None:
        write = self._waiting.pop(name, None)
        if write is not None:
            self.waiting_bytes -= write.num_bytes
        return write

    async def _work(self) -> None:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._waiting)
            while self._waiting:
                if (ticket := self._endpoint.writing.admit()) is None:
                    await asyncio.sleep(_WAIT_S)
                elif (write := self._take(next(iter(self._waiting)))) is not None:
                    await self._write(ticket, write)

    async def _write(self, ticket: int, write: Write) -> None:
        self._under_way += 1
        try:
            await self._endpoint.write(ticket, lambda store: store.put(write.name, write.parts, write.ttl_s))
        except TierUnavailable as error:
            self._metrics.count("remote_writes_dropped")
            _log.debug("%s is not written: %s", write.name, error)
        finally:
            self._under_way -= 1
            async with self._changed:
                self._changed.notify_all()
