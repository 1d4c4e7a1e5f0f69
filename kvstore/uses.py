"""Uses: touches of chunks that are remembered in memory until the index is next written."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from kvstore.index_change import IndexChange
from kvstore.key import ChunkKey
from kvstore.ledger import used_at_s
from kvstore.tier import Entry

_COARSE_S = 60.0  # a use that was no hit is not worth writing sooner after the last one

_Use = tuple[float, int]
"""When a chunk was used last, and how many hits that makes."""


class Uses:
    """By key, held or not. Safe in threads."""

    def __init__(self) -> None:
        self._uses: dict[ChunkKey, _Use] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._uses)

    def note(self, keys: Sequence[ChunkKey], now_s: float, hits: int) -> None:
        """A prompt's chunks, the first one first; `hits` is 0 where they were only saved."""
        with self._lock:
            for index, key in enumerate(keys):
                before = self._uses[key][1] if key in self._uses else 0
                self._uses[key] = used_at_s(index, now_s), before + hits

    def of(self, entry: Entry) -> Entry:
        """The entry as it will be once its uses are written."""
        use = self._uses.get(entry.key)
        return replace(entry, used_at_s=use[0], hits=entry.hits + use[1]) if use else entry

    def taken(self) -> dict[ChunkKey, _Use]:
        """Those to write now; they stay until `written`."""
        with self._lock:
            return dict(self._uses)

    def written(self, taken: dict[ChunkKey, _Use]) -> None:
        """Forgets them, but for what came since."""
        with self._lock:
            for key, use in taken.items():
                now = self._uses.pop(key, use)
                if now is not use:
                    self._uses[key] = now[0], now[1] - use[1]


def write_uses(change: IndexChange, uses: dict[ChunkKey, _Use]) -> None:
    """To the chunks that are held."""
    for key, (at_s, hits) in uses.items():
        held = change.find(key)
        if held is not None and (hits or at_s - held.entry.used_at_s > _COARSE_S):
            change.update(held, replace(held.entry, used_at_s=at_s, hits=held.entry.hits + hits))
