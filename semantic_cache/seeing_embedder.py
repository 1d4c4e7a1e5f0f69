"""SeeingEmbedder: one pass over a text gives its vector to the search, and its words to the judge after it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semantic_cache.embedder import Embedder, Vectors
from semantic_cache.looks import Looks


class SeeingEmbedder(Embedder):
    """The vectors of another embedder, which remembers what it saw for who asks `looks` next."""

    def __init__(self, inner: Embedder, looks: Looks) -> None:
        """`looks` are of `inner`'s own looking."""
        self.fingerprint, self.dimension = inner.fingerprint, inner.dimension
        self._looks = looks

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.empty((len(texts), self.dimension), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            vector[:] = self._looks.look(text).vector
        return vectors
