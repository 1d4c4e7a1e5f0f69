"""MemoryStore: values in this process, the control in every test of what is said of an engine."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import takewhile

from connectors.remote.store import Buffer, Caps, Health, Listed, RemoteStore


class MemoryStore(RemoteStore):
    """Drops nothing but that whose time is up."""

    caps = Caps(max_value_bytes=1 << 40, expires=True, evicts=False)
    url = "memory://"

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._values: dict[str, tuple[bytes, float]] = {}
        """Each with the moment when its time is up."""

    def _value(self, key: str) -> bytes:
        """Nothing when it is not there."""
        value, expires_at_s = self._values.get(key, (b"", 0.0))
        return value if self._clock() < expires_at_s else b""

    async def sizes(self, keys: Sequence[str]) -> list[int]:
        return list(takewhile(bool, (len(self._value(key)) for key in keys)))

    async def get_into(self, key: str, buffer: memoryview) -> bool:
        if not (value := self._value(key)) or len(value) != len(buffer):
            return False
        buffer[:] = value
        return True

    async def peek(self, keys: Sequence[str], num_bytes: int) -> list[bytes | None]:
        return [self._value(key)[:num_bytes] or None for key in keys]

    async def put(self, key: str, parts: Sequence[Buffer], ttl_s: float | None = None) -> bool:
        if self._value(key):
            return False
        self._values[key] = b"".join(parts), self._clock() + (math.inf if ttl_s is None else ttl_s)
        return True

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._values.pop(key, None)

    async def listed(self, start: str = "") -> AsyncIterator[Listed]:
        for key in [key for key in self._values if key.startswith(start)]:
            if value := self._value(key):
                yield Listed(key, len(value))

    async def health(self) -> Health:
        used_bytes = sum(len(value) for value, _ in self._values.values())
        return Health("this process", used_bytes, num_values=len(self._values))

    async def aclose(self) -> None:
        return
