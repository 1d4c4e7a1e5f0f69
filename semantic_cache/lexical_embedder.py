"""LexicalEmbedder: the naive twin, without a model. Texts are alike that share words and runs of letters.

Feature hashing (Weinberger et al., ICML 2009, section 2) of whole words and of the runs of 3 to 5 characters in them
(as in Bojanowski et al., TACL 2017, section 3.2): each feature adds 1 or -1 to one of the dimensions.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

from semantic_cache.embedder import Embedder, Vectors

_RUNS = (3, 4, 5)
_MOST_CHARACTERS = 4096
_WORD = re.compile(r"\w+")
_VERSION = 1


class LexicalEmbedder(Embedder):
    """Of a text, the words in its first 4,096 characters, in any order and case."""

    def __init__(self, dimension: int = 512) -> None:
        self.dimension = dimension
        self.fingerprint = f"lexical {_VERSION} [{dimension}] unicode {unicodedata.unidata_version}"

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.empty((len(texts), self.dimension), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            sums = self._sums(text)
            vector[:] = sums / np.linalg.norm(sums)
        return vectors

    def _sums(self, text: str) -> NDArray[np.float64]:
        """[dimension], whole numbers, not all of them 0."""
        folded = unicodedata.normalize("NFKC", text[:_MOST_CHARACTERS]).casefold()
        hashes = np.fromiter(map(_hash, _features(folded)), np.uint64)
        sums = np.zeros(self.dimension)
        np.add.at(sums, hashes % np.uint64(self.dimension), np.where(hashes >> np.uint64(63), 1.0, -1.0))
        if not sums.any():  # nothing in it, or what cancels out
            sums[0] = 1.0
        return sums


def _features(text: str) -> Iterator[str]:
    """Words stand between marks, so that runs tell where one begins."""
    for word in _WORD.findall(text):
        marked = f"<{word}>"
        yield marked
        for length in _RUNS:
            for start in range(len(marked) - length + 1):
                yield marked[start : start + length]


def _hash(feature: str) -> int:
    return xxhash.xxh3_64_intdigest(feature.encode("utf-8", "surrogatepass"))
