"""Endpoint: one store, asked no longer than there is patience for, and not at all while it keeps failing.

Outside in: the time there is, the breaker, the bytes on their way, the store. Values are read and written under a
breaker each, since a server that is full can be read. Which reads find out whether it is back costs no request
anything: a question about its health does that, beside them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from connectors.remote.byte_room import ByteRoom
from connectors.remote.latencies import Latencies
from connectors.remote.store import Health, RemoteStore
from kvstore import Breaker, Metrics, TierUnavailable

T = TypeVar("T")
_log = logging.getLogger(__name__)
WRITING = 10
"""How often the deadline a write may take."""


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
        """No read takes longer than `deadline_s`; one of half that is slow. `breaker` makes one, closed."""
        self.store, self._metrics, self._deadline_s = store, metrics, deadline_s
        self.reading, self.writing = breaker(slow_s=deadline_s / 2), breaker()
        self.latencies = Latencies()
        self.health: Health | None = None
        """As the store said when it was last asked."""
        self._room = ByteRoom(in_flight_bytes)
        self._finding_out: asyncio.Task[None] | None = None

    async def read(
        self, ask: Callable[[RemoteStore], Awaitable[T]], num_bytes: int = 0, patience_s: float | None = None
    ) -> T:
        """What the store answers, within `patience_s` where that is less than the deadline.

        Raises TierUnavailable when it does not.
        """
        ticket = self.reading.admit()
        if ticket is None:
            raise self._held_off()
        if self.reading.is_open:
            self._finding_out = asyncio.create_task(self._find_out(ticket))
            raise self._held_off()
        patience_s = self._deadline_s if patience_s is None else min(patience_s, self._deadline_s)
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

    async def _find_out(self, ticket: int) -> None:
        try:
            await self.ask_health()
        except TierUnavailable as error:
            _log.debug("%s is not back: %s", self.store.url, error)
            self.reading.report(ticket, False)
        else:
            self.reading.report(ticket, True)

    async def ask_health(self) -> Health:
        """Raises TierUnavailable when it does not answer."""
        try:
            async with asyncio.timeout(self._deadline_s):
                self.health = await self.store.health()
        except TimeoutError:
            raise TierUnavailable(f"{self.store.url} did not answer within {self._deadline_s:.3f} s") from None
        return self.health

    def _held_off(self) -> TierUnavailable:
        return TierUnavailable(f"{self.store.url} fails or is slow, and is not asked for a while")
