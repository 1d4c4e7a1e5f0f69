"""MemoryTier: frames in RAM, gone with the process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

from kvstore.eviction import LRU, EvictionPolicy
from kvstore.key import ChunkKey
from kvstore.ledger import Ledger, used_at_s
from kvstore.metrics import Metrics
from kvstore.tier import Entry, Frame, Tier


class MemoryTier(Tier):
    """Keeps the frames it is given, without copying them: whoever puts a bytearray must not change it after."""

    name = "memory"

    def __init__(
        self,
        capacity_bytes: int,
        policy: EvictionPolicy | None = None,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises InvalidRequest when the budget is not positive."""
        self._ledger = Ledger(capacity_bytes, policy or LRU())
        self._frames: dict[ChunkKey, memoryview] = {}
        self._lock = threading.Lock()
        self._metrics = metrics or Metrics()
        self._clock = clock

    def match(self, keys: Sequence[ChunkKey]) -> int:
        with self._lock:
            return self._ledger.match(keys)

    def get(self, key: ChunkKey) -> memoryview | None:
        with self._lock:
            return self._frames.get(key)

    def put(self, entries: Sequence[tuple[ChunkKey, Frame]], prefix: Sequence[ChunkKey] = ()) -> int:
        prompt = [*prefix, *(key for key, _ in entries)]
        keep, now_s, stored = set(prompt), self._clock(), 0
        with self._lock:
            self._ledger.touch(prompt, now_s, hits=0)
            for key, frame in entries:
                self._drop(key)
                for victim in self._ledger.victims_for(len(frame), keep):
                    del self._frames[victim]
                    self._metrics.count("chunks_evicted")
                if not self._ledger.fits(len(frame)):
                    break
                self._frames[key] = memoryview(frame).toreadonly()
                self._ledger.add(Entry(key, len(frame), now_s, used_at_s(len(prefix) + stored, now_s), hits=0))
                stored += 1
            self._ledger.touch(prompt, now_s, hits=0)
            return stored

    def delete(self, key: ChunkKey) -> bool:
        with self._lock:
            return self._drop(key)

    def touch(self, keys: Sequence[ChunkKey]) -> None:
        with self._lock:
            self._ledger.touch(keys, self._clock())

    def entries(self) -> Iterator[Entry]:
        with self._lock:
            return iter(self._ledger.entries())

    @property
    def size_bytes(self) -> int:
        return self._ledger.size_bytes

    def _drop(self, key: ChunkKey) -> bool:
        self._frames.pop(key, None)
        return self._ledger.drop(key)
