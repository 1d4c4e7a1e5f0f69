"""VectorIndex contract: which of the vectors held are nearest. The naive one is in `flat_index.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Neighbor:
    id: int
    """Of its document."""
    cosine: float


class VectorIndex(ABC):
    """Vectors of one dimension and length 1, by partition (see `Query.partition`) and by their document's id.

    What is in one partition is never found from another. Safe to use from several threads.
    """

    @abstractmethod
    def add(self, partition: bytes, document_id: int, vector: NDArray[np.float32]) -> None:
        """Hold a vector, [dimension]. An id is added once, never again after it was removed."""

    @abstractmethod
    def remove(self, partition: bytes, ids: Sequence[int]) -> None:
        """What is not held is none of them; what is removed is never found again."""

    @abstractmethod
    def search(self, partition: bytes, vector: NDArray[np.float32], k: int) -> list[Neighbor]:
        """The nearest, best first; at most `k`. Touches no disk."""

    @abstractmethod
    def __len__(self) -> int:
        """Vectors held."""
