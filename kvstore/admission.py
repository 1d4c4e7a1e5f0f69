"""Admission: which chunks go to the tiers below the fastest. Most of what is saved is never asked for again."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence

from kvstore.key import ChunkKey

_MOST_KEYS = 1 << 18  # about 50 MB


class Admission(ABC):
    """Told of every prompt that is saved or used. Safe in threads."""

    @abstractmethod
    def admitted(self, prompt: Sequence[ChunkKey]) -> int:
        """Sees a prompt's chunks, first one first: how many leading ones go below."""


class SecondSight(Admission):
    """A chunk goes below when it is seen again, and what stands before it goes along.

    Remembers the `most_keys` chunks seen last; what it forgot is new to it.
    """

    def __init__(self, most_keys: int = _MOST_KEYS) -> None:
        self._most_keys = most_keys
        self._seen: OrderedDict[ChunkKey, None] = OrderedDict()
        self._lock = threading.Lock()

    def admitted(self, prompt: Sequence[ChunkKey]) -> int:
        with self._lock:
            leading = max((index + 1 for index, key in enumerate(prompt) if key in self._seen), default=0)
            for key in reversed(prompt):
                self._seen[key] = None
                self._seen.move_to_end(key)
            while len(self._seen) > self._most_keys:
                self._seen.popitem(last=False)
            return leading
