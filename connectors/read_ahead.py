"""Reading ahead: which chunks follow in the prompts that were matched last, and what was learned of them meanwhile."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Generic, TypeVar

from kvstore import ChunkKey

T = TypeVar("T")
_MOST_CHUNKS = 1 << 15


class PromptOrder:
    """Of the prompts told last. Safe in threads."""

    def __init__(self) -> None:
        self._next: OrderedDict[ChunkKey, ChunkKey] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, keys: Sequence[ChunkKey]) -> None:
        """Chunks of one prompt, each behind the one before."""
        with self._lock:
            for key, behind in pairwise(keys):
                self._next[key] = behind
                self._next.move_to_end(key)
            while len(self._next) > _MOST_CHUNKS:
                self._next.popitem(last=False)

    def following(self, key: ChunkKey, most: int) -> list[ChunkKey]:
        """The chunk, and those behind it: at most that many in all."""
        keys = [key]
        while len(keys) < most and (behind := self._next.get(keys[-1])) is not None:
            keys.append(behind)
        return keys


class Recent(Generic[T]):
    """What was learned a moment ago, by chunk. Each is taken once; it is dropped when it is `keep_s` old, or the oldest
    of more than `most`. Safe in threads.
    """

    def __init__(
        self,
        most: int,
        keep_s: float,
        dropped: Callable[[T], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`dropped` is told of what nobody took."""
        self._most, self._keep_s, self._dropped, self._clock = most, keep_s, dropped, clock
        self._learned: OrderedDict[ChunkKey, tuple[float, T]] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, learned: Iterable[tuple[ChunkKey, T]]) -> None:
        now_s = self._clock()
        with self._lock:
            for key, each in learned:
                self._learned[key] = now_s, each
                self._learned.move_to_end(key)
            self._drop(lambda at_s: len(self._learned) > self._most or now_s - at_s > self._keep_s)

    def take(self, key: ChunkKey) -> T | None:
        with self._lock:
            self._drop(lambda at_s: self._clock() - at_s > self._keep_s)
            _, found = self._learned.pop(key, (0.0, None))
        return found

    def __contains__(self, key: ChunkKey) -> bool:
        return key in self._learned

    def clear(self) -> None:
        with self._lock:
            self._drop(lambda _: True)

    def _drop(self, too_old: Callable[[float], bool]) -> None:
        """The oldest ones, as long as they are."""
        while self._learned and too_old(next(iter(self._learned.values()))[0]):
            _, (_, oldest) = self._learned.popitem(last=False)
            self._dropped(oldest)
