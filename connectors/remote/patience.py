"""Patience: how long a prompt waits for a remote tier before computing is sooner.

A prompt begins with `deadline_s`. Waiting takes away from it, and a chunk that has come gives back what computing that
chunk would have taken, never more than there was at first. So whatever the place does, and however often it is asked,
a prompt is later by the deadline at most, and a long load goes on for as long as it is faster than computing.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from kvstore import ChunkKey

_MOST_CHUNKS = 1 << 15
_UNKNOWN_SHARE = 0.25  # of the deadline: what computing a chunk takes, where nobody knows
_OVER_S = 10.0  # a prompt that has not waited for so long is over: who asks then begins another


class Patience:
    """Of one prompt. Safe in threads."""

    def __init__(self, deadline_s: float, chunk_s: float, clock: Callable[[], float]) -> None:
        """`chunk_s`: what computing a chunk takes."""
        self._deadline_s = self.left_s = deadline_s
        self._chunk_s, self._clock = chunk_s, clock
        self._waited_at_s = clock()

    @property
    def is_over(self) -> bool:
        return self._clock() - self._waited_at_s > _OVER_S

    @contextmanager
    def waiting(self) -> Iterator[float]:
        """For at most so many seconds."""
        began_s = self._clock()
        try:
            yield max(self.left_s, 0.0)
        finally:
            self._waited_at_s = self._clock()
            self.left_s -= self._waited_at_s - began_s

    def came(self) -> None:
        """A chunk did."""
        self.left_s = min(self.left_s + self._chunk_s, self._deadline_s)


class Prompts:
    """The patience of the prompts matched last, by their chunks. Safe in threads."""

    def __init__(
        self, deadline_s: float, chunk_s: Callable[[], float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`chunk_s` is what computing a chunk is expected to take now; 0 where that is not known."""
        self._deadline_s, self._chunk_s, self._clock = deadline_s, chunk_s, clock
        self._of: OrderedDict[ChunkKey, Patience] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, keys: Sequence[ChunkKey]) -> Patience:
        """A prompt is asked for."""
        patience = Patience(self._deadline_s, self._chunk_s() or _UNKNOWN_SHARE * self._deadline_s, self._clock)
        with self._lock:
            for key in keys:
                self._of[key] = patience
                self._of.move_to_end(key)
            while len(self._of) > _MOST_CHUNKS:
                self._of.popitem(last=False)
        return patience

    def of(self, key: ChunkKey) -> Patience:
        """That of the prompt asked for last which has that chunk, or of one that begins with it."""
        patience = self._of.get(key)
        return self.begin([key]) if patience is None or patience.is_over else patience
