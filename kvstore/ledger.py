"""Ledger: what a tier holds, what it weighs, and who must go to make room. Shared by memory and disk."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from kvstore.errors import InvalidRequest
from kvstore.eviction import EvictionPolicy
from kvstore.key import ChunkKey
from kvstore.tier import Entry


def used_at_s(index: int, now_s: float) -> float:
    """When chunk `index` of a prompt used now counts as used: earlier than all before it.

    So the times alone, which outlive the process, say that a prompt's suffix goes before its prefix.
    """
    return now_s - index * 1e-6  # a Unix time in float64 resolves a quarter of that


class Ledger:
    """Entries by key under a byte budget. Not locked: its tier is."""

    def __init__(self, capacity_bytes: int, policy: EvictionPolicy) -> None:
        if capacity_bytes <= 0:
            raise InvalidRequest(f"capacity_bytes is {capacity_bytes}; a tier needs a positive budget")
        self.capacity_bytes = capacity_bytes
        self.size_bytes = 0
        self._policy = policy
        self._entries: dict[ChunkKey, Entry] = {}

    def __contains__(self, key: ChunkKey) -> bool:
        return key in self._entries

    def entries(self) -> list[Entry]:
        return list(self._entries.values())

    def match(self, keys: Sequence[ChunkKey]) -> int:
        """How many leading keys are held."""
        return next((index for index, key in enumerate(keys) if key not in self._entries), len(keys))

    def add(self, entry: Entry) -> None:
        """Holds `entry` from now on. The caller has made room."""
        self.drop(entry.key)
        self._entries[entry.key] = entry
        self._policy.insert(entry.key)
        self.size_bytes += entry.size_bytes

    def drop(self, key: ChunkKey) -> bool:
        """Forgets `key`; False when it was not held."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        self._policy.remove(key)
        self.size_bytes -= entry.size_bytes
        return True

    def entry(self, key: ChunkKey) -> Entry | None:
        return self._entries.get(key)

    def touch(self, keys: Sequence[ChunkKey], now_s: float, hits: int = 1) -> None:
        """Notes a use of each held key, the last one first, and counts it as `hits`: 0 when it was only saved."""
        for index, key in reversed(list(enumerate(keys))):
            if (entry := self._entries.get(key)) is not None:
                self._entries[key] = replace(entry, used_at_s=used_at_s(index, now_s), hits=entry.hits + hits)
                self._policy.touch(key)

    def victims_for(self, size_bytes: int, keep: Collection[ChunkKey]) -> Iterator[ChunkKey]:
        """Drops and yields keys until `size_bytes` more fit, never one of `keep`; may end before they fit."""
        if size_bytes > self.capacity_bytes:
            return
        while not self.fits(size_bytes):
            victim = self._policy.victim()
            if victim is None or victim in keep:
                return
            self.drop(victim)
            yield victim

    def fits(self, size_bytes: int) -> bool:
        return self.size_bytes + size_bytes <= self.capacity_bytes
