"""What an embedder saw of texts lately, so that one pass serves the search, and the judge after it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from semantic_cache.alignment import Look

CAPACITY = 1024
"""Looks held: some 10 MB for short questions."""


class Looks:
    """The last of them, by text. Safe to use from several threads; two that miss at once both look."""

    def __init__(self, look: Callable[[str], Look], capacity: int = CAPACITY) -> None:
        """`look` is `OnnxEmbedder.look`, or another's that sees words."""
        self._look, self._capacity = look, capacity
        self._held: OrderedDict[str, Look] = OrderedDict()
        self._lock = Lock()

    def look(self, text: str) -> Look:
        """Raises what the embedder raises."""
        with self._lock:
            held = self._held.get(text)
            if held is not None:
                self._held.move_to_end(text)
                return held
        seen = self._look(text)
        with self._lock:
            self._held[text] = seen
            if len(self._held) > self._capacity:
                self._held.popitem(last=False)
        return seen
