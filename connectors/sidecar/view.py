"""View: a tier as one caller sees it, to be looked at."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from connectors.sidecar.callers import Caller
from kvstore import ChunkKey, Entry, Tier
from kvstore.tier import ReadOnlyTier


class View(ReadOnlyTier):
    """The caller's own frames alone. Reading them promotes, counts and ages nothing, and drops nothing damaged."""

    def __init__(self, tier: Tier, caller: Caller) -> None:
        self.name, self.durable = tier.name, tier.durable
        self._tier, self._caller = tier, caller

    def match(self, keys: Sequence[ChunkKey]) -> int:
        held = keys[: self._tier.match(keys)]
        return next((index for index, key in enumerate(held) if self.entry(key) is None), len(held))

    def get(self, key: ChunkKey) -> memoryview | None:
        """Unchecked: whoever reads does."""
        return self.peek(key, sys.maxsize)

    def peek(self, key: ChunkKey, num_bytes: int) -> memoryview | None:
        return None if self.entry(key) is None else self._tier.peek(key, num_bytes)

    def entry(self, key: ChunkKey) -> Entry | None:
        entry = self._tier.entry(key)
        return entry if entry is not None and self._caller.sees(entry) else None

    def entries(self) -> Iterator[Entry]:
        return filter(self._caller.sees, self._tier.entries())

    def where(self, key: ChunkKey) -> str | None:
        return None if self.entry(key) is None else self._tier.where(key)

    @property
    def size_bytes(self) -> int:
        """Of the caller's frames; of a tenant's that takes a walk."""
        return self._tier.size_bytes if self._caller.is_admin else sum(entry.size_bytes for entry in self.entries())

    def quarantined(self) -> dict[str, dict[str, str | float]]:
        """Whose they were is not remembered: nothing for a tenant."""
        return self._tier.quarantined() if self._caller.is_admin else {}

    def rejection(self, key: ChunkKey) -> str | None:
        return self._tier.rejection(key) if self._caller.is_admin else None

    def profile(self, fingerprint: str) -> bytes | None:
        return self._tier.profile(fingerprint)

    def profiles(self) -> list[str]:
        return self._tier.profiles()
