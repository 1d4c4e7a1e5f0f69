"""Embedder contract: texts become vectors whose cosine says how alike they are; and the naive one, without a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class Embedder(ABC):
    """The same text has the same vector, alone or among others, in every process with the same `fingerprint`.

    Safe to use from several threads. Vectors of two fingerprints are never compared.
    """

    fingerprint: str
    """Of all that the vectors depend on: model, weights, quantization, version."""
    dimension: int

    @abstractmethod
    def embed(self, texts: Sequence[str]) -> Vectors:
        """[text, dimension], each of length 1. Any text has one, an empty one too; long ones are cut.

        Raises EmbedderUnavailable when the model, or whoever serves it, does not answer.
        """
