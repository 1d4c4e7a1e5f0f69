"""FlatIndex: looks at every vector of a partition. Exact, and the control of every other index."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kvstore.errors import InvalidRequest
from semantic_cache.index import Neighbor, VectorIndex


class FlatIndex(VectorIndex):
    """A float32 matrix for each partition, copied by every change."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._partitions: dict[bytes, tuple[NDArray[np.int64], NDArray[np.float32]]] = {}  # [row], [row, dimension]
        self._lock = threading.Lock()

    def add(self, partition: bytes, document_id: int, vector: NDArray[np.float32]) -> None:
        if vector.shape != (self._dimension,):
            raise InvalidRequest(f"a vector of {self._dimension} numbers is wanted, not one of shape {vector.shape}")
        with self._lock:
            ids, vectors = self._held(partition)
            self._partitions[partition] = np.append(ids, document_id), np.vstack([vectors, vector])

    def remove(self, partition: bytes, ids: Sequence[int]) -> None:
        with self._lock:
            held, vectors = self._held(partition)
            kept = ~np.isin(held, np.asarray(ids, np.int64))
            self._partitions[partition] = held[kept], vectors[kept]
            if not kept.any():
                del self._partitions[partition]

    def search(self, partition: bytes, vector: NDArray[np.float32], k: int) -> list[Neighbor]:
        ids, vectors = self._held(partition)
        cosines = vectors @ vector
        best = np.argsort(-cosines, kind="stable")[:k]
        return [Neighbor(int(ids[row]), float(cosines[row])) for row in best]

    def _held(self, partition: bytes) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        nothing = np.empty(0, np.int64), np.empty((0, self._dimension), np.float32)
        return self._partitions.get(partition, nothing)

    def __len__(self) -> int:
        with self._lock:
            return sum(len(ids) for ids, _ in self._partitions.values())
