"""Endpoint: one store, asked no longer than there is patience for, and not at all while it keeps failing.

Outside in: the time there is, the breaker, the bytes on their way, the store. Values are read and written under a
breaker each, since a server that is full can be read. Whether it can be read again, no request has to find out: it is
asked for its health meanwhile, one question at a time.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from connectors.remote.byte_room import ByteRoom
from connectors.remote.store import Health, RemoteStore
from kvstore import Breaker, Latencies, Metrics, TierState, TierUnavailable

T = TypeVar("T")
_log = logging.getLogger(__name__)
WRITING = 10
"""How often the deadline a write may take."""
_LONGEST_PAUSE_S, _LOOK_S = 8.0, 0.1
_HEALTH_S = 2.0  # for an answer that takes no time, however patient others are


class Endpoint:
    """Of one event loop."""

    def __init__(
        self,
        store: RemoteStore,
        metrics: Metrics,
        deadline_s: float,
        in_flight_bytes: int,
        breaker: Callable[..., Breaker] = Breaker,
    ) -> None:
        """A read that takes half of `deadline_s` is slow; one that has no answer then is lost, and enough to hold off
        others. `breaker` makes one, closed.
        """
        self.store, self._metrics, self._deadline_s = store, metrics, deadline_s
        self.reading, self.writing = (
            breaker(longest_pause_s=_LONGEST_PAUSE_S, slow_s=slow_s) for slow_s in (deadline_s / 2, math.inf)
        )
        self.latencies = Latencies()
        self.health: Health | None = None
        """As the store said when it was last asked."""
        self._room = ByteRoom(in_flight_bytes)
        self._finding_out: asyncio.Task[None] | None = None

    async def read(
        self, ask: Callable[[RemoteStore], Awaitable[T]], num_bytes: int = 0, patience_s: float | None = None
    ) -> T:
        """What the store answers, within `patience_s`, or the deadline where that is not given.

        Raises TierUnavailable when it does not.
        """
        ticket = None if self.reading.is_open else self.reading.admit()
        if ticket is None:
            raise TierUnavailable(f"{self.store.url} fails or is slow, and is not asked for a while")
        patience_s = self._deadline_s if patience_s is None else patience_s
        return await self._asked(self.reading, ticket, ask, num_bytes, patience_s)

    async def write(self, ticket: int, ask: Callable[[RemoteStore], Awaitable[T]]) -> T:
        """As `read`, with a ticket of `writing`. Nobody waits for it: it may take ten times as long."""
        return await self._asked(self.writing, ticket, ask, 0, WRITING * self._deadline_s)

    async def _asked(
        self,
        breaker: Breaker,
        ticket: int,
        ask: Callable[[RemoteStore], Awaitable[T]],
        num_bytes: int,
        patience_s: float,
    ) -> T:
        began_s: float | None = None
        opened = False
        try:
            async with asyncio.timeout(patience_s), self._room.taken(num_bytes):
                began_s = time.monotonic()
                answer = await ask(self.store)
                took_s = time.monotonic() - began_s
        except TimeoutError:
            if began_s is None:
                raise TierUnavailable(f"too much is on its way from and to {self.store.url}") from None
            lost = patience_s >= self._deadline_s
            opened = breaker.trip(ticket) if lost else breaker.report(ticket, False)
            raise TierUnavailable(f"{self.store.url} did not answer within {patience_s:.3f} s") from None
        except asyncio.CancelledError:  # who asked waits no longer
            if began_s is not None and time.monotonic() - began_s >= self._deadline_s / 2:
                opened = breaker.report(ticket, False)
            raise
        except TierUnavailable:
            opened = breaker.report(ticket, False)
            raise
        else:
            opened = breaker.report(ticket, True, took_s)
            self.latencies.note(took_s)
            return answer
        finally:
            if opened:
                self._metrics.count("breakers_opened")
                _log.info("%s fails or is slow: it is not asked for a while", self.store.url)
                if breaker is self.reading:
                    self._finding_out = asyncio.create_task(self._find_out())

    async def _find_out(self) -> None:
        """Until it can be read again."""
        while self.reading.is_open:
            await asyncio.sleep(_LOOK_S)
            if (ticket := self.reading.admit()) is not None:
                answers = False
                with suppress(TierUnavailable):
                    answers = bool(await self.ask_health())
                self.reading.report(ticket, answers)

    async def ask_health(self) -> Health:
        """Raises TierUnavailable when it does not answer."""
        patience_s = min(self._deadline_s, _HEALTH_S)
        try:
            async with asyncio.timeout(patience_s):
                self.health = await self.store.health()
        except TimeoutError:
            raise TierUnavailable(f"{self.store.url} did not answer within {patience_s:.3f} s") from None
        return self.health

    async def state(self, name: str) -> TierState:
        """Asks the store how it is."""
        health, problem = Health(""), None
        try:
            health = await self.ask_health()
        except TierUnavailable as error:
            problem = str(error)
        median_s, p99_s = self.latencies.median_and_p99()
        return TierState(
            name,
            self.store.url,
            size_bytes=health.used_bytes,
            capacity_bytes=health.capacity_bytes,
            chunks=health.num_values,
            problem=problem,
            reads_held_off=self.reading.is_open,
            writes_held_off=self.writing.is_open,
            median_s=median_s,
            p99_s=p99_s,
        )
