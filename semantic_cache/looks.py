"""What an embedder saw of texts lately, so that one pass serves the search, and the judge after it."""

from __future__ import annotations

from collections.abc import Callable

from semantic_cache.alignment import Look
from semantic_cache.recent import Recent

CAPACITY = 1024
"""Looks held: some 10 MB for short questions."""


class Looks:
    """The last of them, by text. Safe to use from several threads; two that miss at once both look."""

    def __init__(self, look: Callable[[str], Look], capacity: int = CAPACITY) -> None:
        """`look` is `OnnxEmbedder.look`, or another's that sees words."""
        self._look, self._seen = look, Recent[str, Look](capacity)

    def look(self, text: str) -> Look:
        """Raises what the embedder raises."""
        seen = self._seen.get(text)
        if seen is None:
            seen = self._look(text)
            self._seen.put(text, seen)
        return seen
