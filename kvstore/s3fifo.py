"""S3FIFO: what is never used again goes early. Yang et al., "FIFO Queues are All You Need", SOSP 2023."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from kvstore.eviction import EvictionPolicy
from kvstore.key import ChunkKey

_MOST_USES = 3  # two bits, as in the paper
_Queue = OrderedDict[ChunkKey, int]  # a key's uses since it came or came round; the next to go stands first


class S3FIFO(EvictionPolicy):
    """New keys pass a small queue; those used there, or back soon after they went, get into the main one.

    Shares count keys, not bytes: a policy knows no sizes. Other than in the paper one use is enough to leave the
    small queue, and spared keys go to the end of their queue, unused or not: a prompt of many chunks that are
    spared costs one round, not one for every victim.
    """

    def __init__(self, small_share: float = 0.3, ghosts_per_key: float = 4.0) -> None:
        """The small queue's share of the keys held; how many evicted keys are remembered for each one held."""
        self._small_share, self._ghosts_per_key = small_share, ghosts_per_key
        self._small: _Queue = OrderedDict()
        self._main: _Queue = OrderedDict()
        self._ghosts: OrderedDict[ChunkKey, None] = OrderedDict()

    def insert(self, key: ChunkKey) -> None:
        if key in self._small or key in self._main:
            self.touch(key)
        elif key in self._ghosts:
            del self._ghosts[key]
            self._main[key] = 0
        else:
            self._small[key] = 0

    def touch(self, key: ChunkKey) -> None:
        queue = self._small if key in self._small else self._main
        if key in queue:
            queue[key] = min(queue[key] + 1, _MOST_USES)

    def remove(self, key: ChunkKey, evicted: bool = False) -> None:
        self._main.pop(key, None)
        if self._small.pop(key, None) is not None and evicted:
            self._ghosts[key] = None
        while len(self._ghosts) > self._ghosts_per_key * (len(self._small) + len(self._main) + 1):
            self._ghosts.popitem(last=False)

    def victim(self, spared: Callable[[ChunkKey], bool]) -> ChunkKey | None:
        key = self._unused(self._due, spared)
        return self._unused(self._other, spared) if key is None else key

    def _due(self) -> _Queue:
        small_is_full = len(self._small) >= self._small_share * (len(self._small) + len(self._main))
        return self._small if small_is_full else self._main

    def _other(self) -> _Queue:
        return self._main if self._due() is self._small else self._small

    def _unused(self, choose: Callable[[], _Queue], spared: Callable[[ChunkKey], bool]) -> ChunkKey | None:
        """The chosen queue's first key neither spared nor used; used ones go to the end of the main queue."""
        while (key := _first(queue := choose(), spared)) is not None:
            uses = queue[key]
            if not uses:
                return key
            del queue[key]
            self._main[key] = 0 if queue is self._small else uses - 1
        return None


def _first(queue: _Queue, spared: Callable[[ChunkKey], bool]) -> ChunkKey | None:
    """The first key that is not spared, those before it put to the end; after a whole round all stand as before."""
    for _ in range(len(queue)):
        key = next(iter(queue))
        if not spared(key):
            return key
        queue.move_to_end(key)
    return None
