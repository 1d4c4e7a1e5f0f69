"""A look without a model: each word has a vector of its own, whatever stands around it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

DIMENSION = 32


@dataclass(frozen=True)
class SeenWords:
    vector: NDArray[np.float32]
    spans: tuple[tuple[int, int], ...]
    word_vectors: NDArray[np.float32]


def look(text: str) -> SeenWords:
    found = list(re.finditer(r"\w+|[^\w\s]", text))
    vectors = np.array([_vector(match.group().lower()) for match in found], np.float32).reshape(-1, DIMENSION)
    total = vectors.sum(axis=0) + 1e-6
    return SeenWords(total / np.linalg.norm(total), tuple(match.span() for match in found), vectors)


def _vector(word: str) -> NDArray[np.float32]:
    seed = int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
    drawn = np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)
    return drawn / np.linalg.norm(drawn)
