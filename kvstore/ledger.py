"""Ledger: what a tier holds, what it weighs, and who must go to make room. Shared by memory and disk."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

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
    """Entries by key under a byte budget, and under quotas in bytes by tenant. Not locked: its tier is.

    Where the policy names a chunk, what lies behind it goes first, the last one first: it could not be reached.
    """

    def __init__(self, capacity_bytes: int, policy: EvictionPolicy, quotas: Mapping[str, int] | None = None) -> None:
        """Raises InvalidRequest when the budget or a quota is not positive."""
        for name, given in {"capacity_bytes": capacity_bytes, **(quotas or {})}.items():
            if given <= 0:
                raise InvalidRequest(f"{name} is {given}; a tier needs a positive budget")
        self.capacity_bytes = capacity_bytes
        self.size_bytes = 0
        self._policy, self._quotas = policy, dict(quotas or {})
        self._entries: dict[ChunkKey, Entry] = {}
        self._children: dict[ChunkKey, dict[ChunkKey, None]] = {}
        self._bytes_of: Counter[str] = Counter()
        self._expiring: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        """Of what is held, expired or not."""
        return len(self._entries)

    def entries(self, now_s: float) -> list[Entry]:
        return [entry for entry in self._entries.values() if entry.terms.expires_at_s > now_s]

    def match(self, keys: Sequence[ChunkKey], now_s: float) -> int:
        """How many leading keys are held."""
        return next((index for index, key in enumerate(keys) if self.entry(key, now_s) is None), len(keys))

    def entry(self, key: ChunkKey, now_s: float) -> Entry | None:
        """None when it is not held, or no longer."""
        entry = self._entries.get(key)
        return entry if entry is not None and entry.terms.expires_at_s > now_s else None

    def add(self, entry: Entry) -> None:
        """Holds `entry` from now on. The caller has made room."""
        self.drop(entry.key)
        self._entries[entry.key] = entry
        if not entry.pinned:
            self._policy.insert(entry.key)
        if entry.parent is not None:
            self._children.setdefault(entry.parent, {})[entry.key] = None
        if entry.terms.expires_at_s != math.inf:
            heapq.heappush(self._expiring, (entry.terms.expires_at_s, entry.key.digest))
        self._bytes_of[entry.terms.tenant] += entry.size_bytes
        self.size_bytes += entry.size_bytes

    def drop(self, key: ChunkKey, evicted: bool = False) -> bool:
        """Forgets `key`; False when it was not held. `evicted` says that it goes to make room."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        self._policy.remove(key, evicted)
        if entry.parent is not None:
            siblings = self._children[entry.parent]
            del siblings[key]
            if not siblings:
                del self._children[entry.parent]
        self._bytes_of[entry.terms.tenant] -= entry.size_bytes
        self.size_bytes -= entry.size_bytes
        return True

    def touch(self, keys: Sequence[ChunkKey], now_s: float, hits: int = 1) -> None:
        """Notes a use of each held key, the last one first, and counts it as `hits`: 0 when it was only saved."""
        for index, key in reversed(list(enumerate(keys))):
            if (entry := self.entry(key, now_s)) is not None:
                self._entries[key] = replace(entry, used_at_s=used_at_s(index, now_s), hits=entry.hits + hits)
                if hits:
                    self._policy.touch(key)

    def pin(self, key: ChunkKey, pinned: bool) -> None:
        """Of a key that is held."""
        entry = self._entries[key]
        if entry.pinned != pinned:
            self._entries[key] = replace(entry, pinned=pinned)
            self._policy.remove(key) if pinned else self._policy.insert(key)

    def victims_for(self, size_bytes: int, tenant: str, keep: Collection[ChunkKey], now_s: float) -> Iterator[ChunkKey]:
        """Drops and yields keys until `size_bytes` more of a tenant fit, never one of `keep`; may end before they fit.

        What has expired goes first. A tenant at its quota makes room for itself, whoever used what.
        """
        yield from self._expired(now_s)
        if size_bytes > min(self.capacity_bytes, self._quota_of(tenant)):
            return
        stuck: set[ChunkKey] = set()
        while not self.fits(size_bytes, tenant):
            only = None if self._within_quota(size_bytes, tenant) else tenant
            chosen = self._policy.victim(partial(self._is_spared, keep, stuck, only))
            if chosen is None:
                return
            victim = self._last_behind(chosen)
            if victim in keep or self._entries[victim].pinned:
                stuck.add(chosen)
                continue
            self.drop(victim, evicted=True)
            yield victim

    def _is_spared(
        self, keep: Collection[ChunkKey], stuck: Collection[ChunkKey], only: str | None, key: ChunkKey
    ) -> bool:
        others = only is not None and self._entries[key].terms.tenant != only
        return others or key in keep or key in stuck

    def _last_behind(self, key: ChunkKey) -> ChunkKey:
        """The end of what came last behind a chunk; itself when nothing is held there.

        Of a ring, which no prompts make but whoever puts chunks may, the one from which it would begin anew.
        """
        passed: set[ChunkKey] = set()
        while key not in passed and (children := self._children.get(key)) is not None:
            passed.add(key)
            key = next(reversed(children))
        return key

    def fits(self, size_bytes: int, tenant: str) -> bool:
        return self.size_bytes + size_bytes <= self.capacity_bytes and self._within_quota(size_bytes, tenant)

    def _within_quota(self, size_bytes: int, tenant: str) -> bool:
        return self._bytes_of[tenant] + size_bytes <= self._quota_of(tenant)

    def _quota_of(self, tenant: str) -> int:
        return self._quotas.get(tenant, self.capacity_bytes)

    def _expired(self, now_s: float) -> Iterator[ChunkKey]:
        while self._expiring and self._expiring[0][0] <= now_s:
            _, digest = heapq.heappop(self._expiring)
            entry = self._entries.get(ChunkKey(digest))
            if entry is not None and entry.terms.expires_at_s <= now_s:
                self.drop(entry.key)
                yield entry.key
