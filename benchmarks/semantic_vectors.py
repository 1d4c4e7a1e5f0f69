"""Vectors of all the texts of a run, had once, so that what is timed or replayed is not the embedding."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from semantic_cache.embedder import Embedder, Vectors

TEXTS, VECTORS = "texts.json", "vectors.npy"


class TableEmbedder(Embedder):
    """Says what another embedder said. A text that it was not asked for before is a KeyError."""

    def __init__(self, texts: Sequence[str], vectors: Vectors, fingerprint: str) -> None:
        """`vectors`: [text, dimension]."""
        self.fingerprint, self.dimension = fingerprint, vectors.shape[1]
        self.texts, self.vectors = texts, vectors
        self._rows = {text: row for row, text in enumerate(texts)}

    def embed(self, texts: Sequence[str]) -> Vectors:
        return np.take(self.vectors, [self._rows[text] for text in texts], axis=0)

    def cosine(self, a: str, b: str) -> float:
        return float(self.vectors[self._rows[a]] @ self.vectors[self._rows[b]])

    def write(self, directory: Path) -> None:
        """For a process beside this one."""
        (directory / TEXTS).write_text(json.dumps(self.texts))
        np.save(directory / VECTORS, self.vectors)


def read_table(directory: Path) -> TableEmbedder:
    """As `TableEmbedder.write` wrote it."""
    return TableEmbedder(json.loads((directory / TEXTS).read_text()), np.load(directory / VECTORS), str(directory))


@dataclass(frozen=True)
class Embedded:
    table: TableEmbedder
    cpu_ms: NDArray[np.float64]
    """[text]: what each took, on one core."""
    wall_ms: NDArray[np.float64]


def embedded(embedder: Embedder, texts: Iterable[str]) -> Embedded:
    """Each text on its own, as queries come."""
    distinct = list(dict.fromkeys(texts))
    vectors = np.empty((len(distinct), embedder.dimension), np.float32)
    cpu_ms, wall_ms = np.empty(len(distinct)), np.empty(len(distinct))
    with Progress() as progress:
        for row, text in enumerate(progress.track(distinct, description="embedding")):
            cpu_s, wall_s = time.thread_time(), time.perf_counter()
            vectors[row] = embedder.embed([text])[0]
            cpu_ms[row], wall_ms[row] = 1e3 * (time.thread_time() - cpu_s), 1e3 * (time.perf_counter() - wall_s)
    return Embedded(TableEmbedder(distinct, vectors, embedder.fingerprint), cpu_ms, wall_ms)


def near_copies(vectors: Vectors, count: int, seed: int = 0) -> Vectors:
    """[count, dimension]: these vectors, then others as near to one of them as paraphrases are (cosine .75 to .95)."""
    random = np.random.default_rng(seed)
    copies: Vectors = np.take(vectors, np.arange(count) % len(vectors), axis=0)
    for start in range(len(vectors), count, 10_000):
        part = copies[start : start + 10_000]
        noise = random.standard_normal(part.shape, np.float32)
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
        part += noise * random.uniform(0.33, 0.88, (len(part), 1)).astype(np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return copies
