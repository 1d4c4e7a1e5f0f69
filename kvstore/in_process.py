"""InProcessTier: what tiers have in common that keep frames in this process, and lose them with it."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from kvstore.eviction import EvictionPolicy
from kvstore.key import ChunkKey
from kvstore.ledger import Ledger
from kvstore.metrics import Metrics
from kvstore.s3fifo import S3FIFO
from kvstore.tier import NO_TERMS, Entry, Frame, Terms, Tier

Kept = TypeVar("Kept")
"""What a frame is while it is kept."""


class InProcessTier(Tier, Generic[Kept]):
    """All but where the bytes lie."""

    def __init__(
        self,
        capacity_bytes: int,
        policy: EvictionPolicy | None = None,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.time,
        quotas: Mapping[str, int] | None = None,
    ) -> None:
        """`quotas` are bytes by tenant. Raises InvalidRequest when the budget or a quota is not positive."""
        self._ledger = Ledger(capacity_bytes, policy or S3FIFO(), quotas)
        self._kept: dict[ChunkKey, Kept] = {}
        self._lock = threading.Lock()
        self._metrics = metrics or Metrics()
        self._clock = clock

    @abstractmethod
    def _keeping(self, frame: Frame) -> Callable[[], Kept | None]:
        """What makes of the frame what is kept, or None where there turns out to be no room for it.

        Called while others wait for the tier: whatever else takes long is done before it is returned.
        """

    @abstractmethod
    def _given(self, kept: Kept) -> memoryview:
        """The frame again, as `get` promises it."""

    def match(self, keys: Sequence[ChunkKey]) -> int:
        with self._lock:
            return self._ledger.match(keys, self._clock())

    def get(self, key: ChunkKey) -> memoryview | None:
        kept = self._find(key)
        return None if kept is None else self._given(kept)

    def put(
        self, entries: Sequence[tuple[ChunkKey, Frame]], prefix: Sequence[ChunkKey] = (), terms: Terms = NO_TERMS
    ) -> int:
        prompt, stored = [*prefix, *(key for key, _ in entries)], len(prefix)
        keep, now_s = {*prompt, *self.spared}, self._clock()
        ready = [(key, len(frame), self._keeping(frame)) for key, frame in entries]
        with self._lock:
            for key, size_bytes, keeping in ready:
                self._drop(key)
                for victim in self._ledger.victims_for(size_bytes, terms.tenant, keep, now_s):
                    del self._kept[victim]
                    self._metrics.count("chunks_evicted")
                if not self._ledger.fits(size_bytes, terms.tenant) or (kept := keeping()) is None:
                    break
                self._kept[key] = kept
                parent = prompt[stored - 1] if stored else None
                self._ledger.add(Entry(key, size_bytes, now_s, now_s, 0, terms, parent))
                stored += 1
            self._ledger.touch(prompt, now_s, hits=0)
            return stored - len(prefix)

    def delete(self, key: ChunkKey) -> bool:
        with self._lock:
            return self._drop(key)

    def touch(self, keys: Sequence[ChunkKey]) -> None:
        with self._lock:
            self._ledger.touch(keys, self._clock())

    def pin(self, keys: Sequence[ChunkKey], pinned: bool = True) -> int:
        with self._lock:
            num_held = self._ledger.match(keys, self._clock())
            for key in keys[:num_held]:
                self._ledger.pin(key, pinned)
            return num_held

    def entry(self, key: ChunkKey) -> Entry | None:
        with self._lock:
            return self._ledger.entry(key, self._clock())

    def entries(self) -> Iterator[Entry]:
        with self._lock:
            return iter(self._ledger.entries(self._clock()))

    @property
    def size_bytes(self) -> int:
        return self._ledger.size_bytes

    @property
    def num_chunks(self) -> int:
        return len(self._ledger)

    @property
    def capacity_bytes(self) -> int:
        return self._ledger.capacity_bytes

    def _find(self, key: ChunkKey) -> Kept | None:
        with self._lock:
            return self._kept[key] if self._ledger.entry(key, self._clock()) else None

    def _drop(self, key: ChunkKey) -> bool:
        self._kept.pop(key, None)
        return self._ledger.drop(key)
