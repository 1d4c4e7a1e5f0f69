"""Which chunks a filter selects, which lie before and behind one, and in which order they come and go. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from kvstore.key import ChunkKey
from kvstore.tier import Entry


@dataclass(frozen=True)
class EntryFilter:
    """What must hold of a chunk to be selected. Times are Unix seconds; what is not said holds of all."""

    tenant: str | None = None
    used_before_s: float = math.inf
    """A chunk that was never loaded counts as used when it was saved."""
    saved_before_s: float = math.inf

    def selects(self, entry: Entry) -> bool:
        own = self.tenant is None or entry.terms.tenant == self.tenant
        return own and entry.used_at_s < self.used_before_s and entry.saved_at_s < self.saved_before_s


class ChunkTree:
    """Entries by what lies before them: prompts that begin alike share a stem. Keys that are not held are ignored."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = {entry.key: entry for entry in entries}
        self._children: dict[ChunkKey | None, list[ChunkKey]] = defaultdict(list)
        for entry in self._entries.values():
            self._children[entry.parent].append(entry.key)

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, key: ChunkKey) -> Entry | None:
        return self._entries.get(key)

    def children(self, key: ChunkKey) -> list[ChunkKey]:
        """The chunks held that lie right behind this one."""
        return list(self._children.get(key, ()))

    def firsts(self) -> Iterator[Entry]:
        """What has nothing held before it: the first chunks of prompts, and those whose prefix is gone."""
        return (entry for entry in self._entries.values() if entry.parent not in self._entries)

    def path(self, key: ChunkKey) -> list[Entry]:
        """The chunk and all before it, first to last, as far back as they are held without a gap."""
        path: dict[ChunkKey, Entry] = {}
        at: ChunkKey | None = key
        while at is not None and at not in path and (entry := self._entries.get(at)) is not None:
            path[at] = entry
            at = entry.parent
        return list(path.values())[::-1]

    def reachable(self, key: ChunkKey) -> bool:
        """Whether the chunk and every one before it is held: otherwise no prompt gets there."""
        path = self.path(key)
        return bool(path) and path[0].parent is None

    def with_all_before(self, keys: Iterable[ChunkKey]) -> set[ChunkKey]:
        """Those of `keys` that are held, and every chunk in front of one of them."""
        found: set[ChunkKey] = set()
        for key in keys:
            at: ChunkKey | None = key
            while at is not None and at not in found and (entry := self._entries.get(at)) is not None:
                found.add(at)
                at = entry.parent
        return found

    def with_all_behind(self, keys: Iterable[ChunkKey]) -> set[ChunkKey]:
        """Those of `keys` that are held, and every chunk that only they lead to."""
        found: set[ChunkKey] = set()
        waiting = [key for key in keys if key in self._entries]
        while waiting:
            key = waiting.pop()
            if key not in found:
                found.add(key)
                waiting += self._children.get(key, ())
        return found

    def deletable(self, keys: Iterable[ChunkKey], keep: Iterable[ChunkKey] = ()) -> set[ChunkKey]:
        """What goes when `keys` go: all behind them too; but neither `keep` nor what lies before it."""
        return self.with_all_behind(keys) - self.with_all_before(keep)

    def freed_by_unpinning(self, key: ChunkKey) -> set[ChunkKey]:
        """The pinned chunks that need not be once `key` is not: those behind it, and those that only lead there.

        A chunk in front of another one that stays pinned stays so too.
        """
        freed = {each for each in self.with_all_behind([key]) if self._entries[each].pinned}
        for entry in reversed(self.path(key)[:-1]):
            if any(self._entries[child].pinned and child not in freed for child in self._children[entry.key]):
                break
            if entry.pinned:
                freed.add(entry.key)
        return freed

    def prefix_first(self, keys: Collection[ChunkKey] | None = None) -> Iterator[Entry]:
        """The entries of `keys` (by default all), each prompt from its beginning on, so that its chunks stay together.

        To be put in this order, to be deleted in the reverse of it. Chunks that are said to lie before
        themselves, which no hash chain can be, come last.
        """
        seen: set[ChunkKey] = set()
        for root in (*(entry.key for entry in self.firsts()), *self._entries):
            waiting = [root]
            while waiting:
                key = waiting.pop()
                if key in seen:
                    continue
                seen.add(key)
                waiting += reversed(self._children.get(key, ()))
                if keys is None or key in keys:
                    yield self._entries[key]
