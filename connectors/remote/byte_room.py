"""ByteRoom: how many bytes may be on their way at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteRoom:
    """Of one event loop. What is larger than all the room goes alone."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes, self.taken_bytes = capacity_bytes, 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def taken(self, num_bytes: int) -> AsyncIterator[None]:
        """Waits for it."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._fits(num_bytes))
            self.taken_bytes += num_bytes
        try:
            yield
        finally:
            async with self._changed:
                self.taken_bytes -= num_bytes
                self._changed.notify_all()

    def _fits(self, num_bytes: int) -> bool:
        return not self.taken_bytes or self.taken_bytes + num_bytes <= self._capacity_bytes
