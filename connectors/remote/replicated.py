"""Replicated: reads of a store and of its replica, which is asked where the first fails, or lets one wait.

A get that takes longer than nearly all do is asked of the replica as well, and the first answer counts: "hedged
requests" (Dean and Barroso, The Tail at Scale, CACM 2013), of which there are never more than one in twenty.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import numpy as np

from connectors.remote.endpoint import Endpoint
from connectors.remote.store import RemoteStore
from kvstore import Metrics, TierUnavailable

T = TypeVar("T")
_HEDGE_BEYOND = 0.95  # of what the last gets took
_HEDGED_SHARE, _MOST_SAVED_UP = 0.05, 3.0


class Replicated:
    """Of one event loop."""

    def __init__(self, first: Endpoint, replica: Endpoint | None, metrics: Metrics) -> None:
        """Without a `replica` there is but the first."""
        self.first, self.replica, self._metrics = first, replica, metrics
        self._hedges = 0.0  # that may be begun now

    async def ask(self, ask: Callable[[RemoteStore], Awaitable[T]], patience_s: float) -> T:
        """Of the first, or of its replica when that is unavailable. Raises TierUnavailable when both are."""
        began_s = time.monotonic()
        try:
            return await self.first.read(ask, patience_s=patience_s)
        except TierUnavailable:
            if self.replica is None:
                raise
            return await self.replica.read(ask, patience_s=patience_s - (time.monotonic() - began_s))

    async def get(self, name: str, num_bytes: int, patience_s: float) -> memoryview | None:
        """A value of that size, in a room of its own; None when it is not there, or of another size now."""
        if self.replica is None:
            return await _get(self.first, name, num_bytes, patience_s)
        self._hedges = min(self._hedges + _HEDGED_SHARE, _MOST_SAVED_UP)
        began_s = time.monotonic()
        first = asyncio.create_task(_get(self.first, name, num_bytes, patience_s))
        under_way = {first}
        try:
            await asyncio.wait(under_way, timeout=self._hedge_after_s())
            if first.done() and first.exception() is None:
                return first.result()
            if not first.done():
                self._hedges -= 1
                self._metrics.count("remote_hedged")
            left_s = patience_s - (time.monotonic() - began_s)
            under_way.add(asyncio.create_task(_get(self.replica, name, num_bytes, left_s)))
            return await _first_found(under_way)
        finally:
            for task in under_way:
                task.cancel()

    def _hedge_after_s(self) -> float | None:
        """None: never, for now."""
        after_s = self.first.latencies.at(_HEDGE_BEYOND)
        return None if self._hedges < 1 or math.isinf(after_s) else after_s


async def _get(endpoint: Endpoint, name: str, num_bytes: int, patience_s: float) -> memoryview | None:
    room = np.empty(num_bytes, np.uint8).data
    found = await endpoint.read(lambda store: store.get_into(name, room), num_bytes, patience_s)
    return room if found else None


async def _first_found(tasks: set[asyncio.Task[memoryview | None]]) -> memoryview | None:
    """What the first finds that finds something. Raises TierUnavailable when all fail; None when none of the others
    finds it."""
    failed: BaseException | None = None
    missed, waiting = False, tasks
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            failed = task.exception() or failed
            if task.exception() is None:
                if (found := task.result()) is not None:
                    return found
                missed = True
    if missed or failed is None:
        return None
    raise failed
