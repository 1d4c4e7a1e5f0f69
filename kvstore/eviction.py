"""Which frame goes when the budget is full: policies behind one small contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable

from kvstore.key import ChunkKey


class EvictionPolicy(ABC):
    """Orders keys by how soon they may go. Holds no frames; its owner tells it what is held and locks."""

    @abstractmethod
    def insert(self, key: ChunkKey) -> None:
        """Key is held from now on; inserting it again counts as use."""

    @abstractmethod
    def touch(self, key: ChunkKey) -> None:
        """Key was used; unknown keys are ignored."""

    @abstractmethod
    def remove(self, key: ChunkKey, evicted: bool = False) -> None:
        """Key is no longer held; `evicted` says that it went to make room. Unknown keys are ignored."""

    @abstractmethod
    def victim(self, spared: Callable[[ChunkKey], bool]) -> ChunkKey | None:
        """The key to drop next, of those that are not spared; None to drop nothing. Asking again says the same."""


class NoEviction(EvictionPolicy):
    """Drops nothing: what does not fit is declined."""

    def insert(self, key: ChunkKey) -> None:
        return

    def touch(self, key: ChunkKey) -> None:
        return

    def remove(self, key: ChunkKey, evicted: bool = False) -> None:
        return

    def victim(self, spared: Callable[[ChunkKey], bool]) -> ChunkKey | None:
        return None


class LRU(EvictionPolicy):
    """Drops what was used longest ago."""

    def __init__(self) -> None:
        self._order: OrderedDict[ChunkKey, None] = OrderedDict()

    def insert(self, key: ChunkKey) -> None:
        self._order[key] = None
        self._order.move_to_end(key)

    def touch(self, key: ChunkKey) -> None:
        if key in self._order:
            self._order.move_to_end(key)

    def remove(self, key: ChunkKey, evicted: bool = False) -> None:
        self._order.pop(key, None)

    def victim(self, spared: Callable[[ChunkKey], bool]) -> ChunkKey | None:
        return next((key for key in self._order if not spared(key)), None)
