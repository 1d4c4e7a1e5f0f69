"""Flights: what is on its way to be answered, so that the same question asked meanwhile waits for the same answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from connectors.proxy.broadcast import Broadcast, Reader

Begun = TypeVar("Begun")
_MOST_SHARED_BYTES = 16 << 20


class Abandoned(Exception):
    """All who waited have gone."""


class Flight(Generic[Begun]):
    """One answer on its way, in a task of its own; ended as soon as nobody waits for it."""

    def __init__(self) -> None:
        self.answer: Broadcast[Begun] = Broadcast(_MOST_SHARED_BYTES)
        self.task: asyncio.Task[None] | None = None

    def leave(self, reader: Reader[Begun]) -> None:
        """The reader takes no more."""
        self.answer.leave(reader)
        if self.task is not None and not self.answer.num_readers and not self.answer.is_over:
            self.task.cancel()
            self.answer.fail(Abandoned("nobody waits for it"))  # and nobody joins

    async def settled(self) -> None:
        """Returns when its answer is kept, or is not to be."""
        if self.task is not None:
            await asyncio.wait({self.task})


class Flights(Generic[Begun]):
    """By what makes two questions the same. Of one event loop."""

    def __init__(self) -> None:
        self._shared: dict[Hashable, Flight[Begun]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def join(self, key: Hashable) -> Flight[Begun] | None:
        """The flight that is under way with this key, while it may be joined."""
        flight = self._shared.get(key)
        return flight if flight is not None and flight.answer.may_be_joined else None

    def start(self, fly: Callable[[Flight[Begun]], Coroutine[Any, Any, None]], key: Hashable = None) -> Flight[Begun]:
        """One that may be joined under `key` until `fly` returns, unless that is None."""
        flight: Flight[Begun] = Flight()
        if key is not None:
            self._shared[key] = flight
        flight.task = asyncio.get_running_loop().create_task(self._flown(flight, fly, key))
        self._tasks.add(flight.task)
        flight.task.add_done_callback(self._tasks.discard)
        return flight

    def __len__(self) -> int:
        return len(self._tasks)

    async def close(self) -> None:
        """Ends what is under way, but for what is being kept."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _flown(
        self, flight: Flight[Begun], fly: Callable[[Flight[Begun]], Coroutine[Any, Any, None]], key: Hashable
    ) -> None:
        try:
            await fly(flight)
            flight.answer.end()
        except Exception as error:
            flight.answer.fail(error)
        finally:
            if key is not None and self._shared.get(key) is flight:
                del self._shared[key]
