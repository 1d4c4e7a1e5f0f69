"""Quotas: what each category holds, how much it may, and which answers go when that is too much.

The answer of the least value goes, of a few that are picked at random (as Redis evicts), where

    value = seconds it took to compute * hits per second * share of its time to live that is left / bytes

An answer counts one hit more than it had, so that new ones have their chance. After the greedy dual-size rule (Cao and
Irani, USENIX ITS 1997), with rates instead of an ageing clock.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semantic_cache.documents import Held

_SAMPLE = 64
_YOUNG_S = 60.0
"""No answer counts as younger: two hits in a second are no rate."""
_COLUMNS = np.dtype(
    [
        ("id", np.int64),
        ("size_bytes", np.int64),
        ("compute_s", np.float32),
        ("hits", np.float32),
        ("saved_at_s", np.float64),
        ("expires_at_s", np.float64),
    ]
)


@dataclass(frozen=True)
class Holding:
    """Of one category, as of now; times are Unix times, None of nothing."""

    entries: int
    size_bytes: int
    oldest_at_s: float | None
    newest_at_s: float | None


class Quotas:
    """Holds no answers; its owner tells it what is held, and deletes what must go. Safe in threads.

    Takes about 150 bytes of memory for each answer.
    """

    def __init__(
        self,
        entries: int,
        size_bytes: int,
        quota_of: Callable[[str], float],
        generator: np.random.Generator | None = None,
    ) -> None:
        """What may be held of all categories together, and each one's share of it (see Category.quota)."""
        self._entries, self._size_bytes, self._quota_of = entries, size_bytes, quota_of
        self._generator = generator or np.random.default_rng()
        self._rooms = defaultdict[str, _Room](_Room)
        self._lock = threading.Lock()

    def added(self, held: Held) -> None:
        """It is held from now on; known ids are ignored."""
        with self._lock:
            self._rooms[held.category].add(held)

    def hit(self, category: str, document_id: int) -> None:
        """An answer was served, or helped to one; unknown ids are ignored."""
        with self._lock:
            if category in self._rooms:
                self._rooms[category].hit(document_id)

    def gone(self, category: str, ids: Iterable[int]) -> None:
        """They are held no longer; unknown ids are ignored."""
        with self._lock:
            if category in self._rooms:
                for document_id in ids:
                    self._rooms[category].remove(document_id)

    def excess(self, now_s: float) -> list[int]:
        """Ids that must go now for every category to be within its quota, and all within the whole.

        They count as gone. Where the quotas are more than the whole together, the category that fills most of its own
        gives way.
        """
        with self._lock:
            ids: list[int] = []
            for name, room in self._rooms.items():
                while len(room) and self._filled(name, room) > 1:
                    ids.append(self._drop_least(room, now_s))
            while self._is_over():
                name, room = max(self._rooms.items(), key=lambda named: self._filled(*named))
                ids.append(self._drop_least(room, now_s))
            return ids

    def holding(self, category: str) -> Holding:
        """Looks at all of the category."""
        with self._lock:
            return self._rooms.get(category, _Room()).holding()

    def _filled(self, name: str, room: _Room) -> float:
        """How much of its quota a category holds; infinite when it may hold nothing and does."""
        quota = self._quota_of(name)
        filled = max(len(room) / self._entries, room.size_bytes / self._size_bytes)
        if not filled:
            return 0.0
        return filled / quota if quota else float("inf")

    def _is_over(self) -> bool:
        rooms = self._rooms.values()
        return sum(map(len, rooms)) > self._entries or sum(room.size_bytes for room in rooms) > self._size_bytes

    def _drop_least(self, room: _Room, now_s: float) -> int:
        places = self._generator.integers(0, len(room), _SAMPLE) if len(room) > _SAMPLE else np.arange(len(room))
        document_id = room.least(places, now_s)
        room.remove(document_id)
        return document_id


class _Room:
    """Answers of one category in columns without gaps: the last one takes the place of one that goes."""

    def __init__(self) -> None:
        self._rows = np.zeros(16, _COLUMNS)
        self._places: dict[int, int] = {}
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._places)

    def add(self, held: Held) -> None:
        if held.id in self._places:
            return
        place = len(self._places)
        if place == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[place] = (held.id, held.size_bytes, held.compute_s, 0.0, held.saved_at_s, held.expires_at_s)
        self._places[held.id] = place
        self.size_bytes += held.size_bytes

    def hit(self, document_id: int) -> None:
        place = self._places.get(document_id)
        if place is not None:
            self._rows["hits"][place] += 1

    def remove(self, document_id: int) -> None:
        place = self._places.pop(document_id, None)
        if place is None:
            return
        self.size_bytes -= int(self._rows["size_bytes"][place])
        last = len(self._places)
        if place != last:
            self._rows[place] = self._rows[last]
            self._places[int(self._rows["id"][place])] = place

    def least(self, places: NDArray[np.int64], now_s: float) -> int:
        """The id of the least value among those at `places`; of several alike the oldest."""
        rows = self._rows[places]
        value = _value(rows, now_s)
        least = np.lexsort((rows["saved_at_s"], value))[0]
        return int(rows["id"][least])

    def holding(self) -> Holding:
        if not len(self):
            return Holding(0, 0, None, None)
        saved_at_s = self._rows["saved_at_s"][: len(self)]
        return Holding(len(self), self.size_bytes, float(saved_at_s.min()), float(saved_at_s.max()))


def _value(rows: NDArray[np.void], now_s: float) -> NDArray[np.float64]:
    """[row]; 0 of what has expired."""
    age_s = np.maximum(now_s - rows["saved_at_s"], _YOUNG_S)
    left_s, life_s = rows["expires_at_s"] - now_s, rows["expires_at_s"] - rows["saved_at_s"]
    endless = np.isinf(life_s)
    fresh = np.where(endless, 1.0, np.clip(left_s, 0.0, None) / np.where(endless, 1.0, np.maximum(life_s, 1e-9)))
    value = rows["compute_s"] * ((rows["hits"] + 1) / age_s) * fresh / np.maximum(rows["size_bytes"], 1)
    return np.asarray(value, np.float64)
