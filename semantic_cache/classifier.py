"""Classifier contract: which category claims a query, by its vector; and two: one knows nothing, one has examples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semantic_cache.embedder import Embedder

Array = NDArray[np.float64]
_SHARPNESS = 2.0
"""Of the kernel `exp(sharpness * (cosine - 1))`: near examples count for more than far ones."""
_RIDGE = 0.3
_RIGHT = 0.9
"""Of the examples that it would claim if it did not know them, how many it must claim rightly."""


@dataclass(frozen=True)
class Claim:
    category: str
    lead: float
    """By how much its score is ahead of the next one's; scores are about 1 for what is clear."""


class Classifier(ABC):
    """Says the same of the same vector, always. Safe to use from several threads."""

    @abstractmethod
    def claim(self, vector: NDArray[np.float32]) -> Claim | None:
        """Of a query, [dimension] and of length 1, by the embedder that the classifier knows; None when in doubt."""


class NoClassifier(Classifier):
    """Leaves every query to the default."""

    def claim(self, vector: NDArray[np.float32]) -> Claim | None:
        return None


class ExampleClassifier(Classifier):
    """Learned from a few examples of each category, so that it works with any embedder and for any categories.

    Kernel ridge regression, one category against the others, solved at once. How far ahead a category must be to claim
    a query is set on the examples themselves, each seen by a classifier that does not know it (leave-one-out in closed
    form: Rifkin and Lippert, MIT-CSAIL-TR-2007-025, section 3). Where categories cannot be told apart by their examples
    it claims nothing.
    """

    def __init__(
        self, names: Sequence[str], vectors: NDArray[np.float32], weights: NDArray[np.float32], least_lead: float
    ) -> None:
        """`vectors` [example, dimension], `weights` [example, category]; `least_lead` of what it claims."""
        self.least_lead = least_lead
        self._names, self._vectors, self._weights = names, vectors, weights

    @classmethod
    def learned(cls, examples: Mapping[str, Sequence[str]], embedder: Embedder) -> Classifier:
        """From examples by category; takes an embedding of each of them. Of fewer than two categories: NoClassifier.

        To be learned anew for another embedder. Raises EmbedderUnavailable.
        """
        names = [name for name, texts in examples.items() if texts]
        if len(names) < 2:
            return NoClassifier()
        vectors = embedder.embed([text for name in names for text in examples[name]])
        labels = np.repeat(np.arange(len(names)), [len(examples[name]) for name in names])
        targets = np.eye(len(names))[labels] - 1 / len(names)
        inverse = np.linalg.inv(_kernel(vectors @ vectors.T).astype(np.float64) + _RIDGE * np.eye(len(vectors)))
        weights = inverse @ targets
        left_out = targets - weights / np.diag(inverse)[:, None]
        return cls(names, vectors, weights.astype(np.float32), _least_lead(left_out, labels))

    def claim(self, vector: NDArray[np.float32]) -> Claim | None:
        scores = _kernel(self._vectors @ vector) @ self._weights
        second, first = np.argsort(scores)[-2:]
        lead = float(scores[first] - scores[second])
        return Claim(self._names[first], lead) if lead >= self.least_lead else None


def _kernel(cosines: NDArray[np.float32]) -> NDArray[np.float32]:
    alike: NDArray[np.float32] = np.exp(_SHARPNESS * (cosines - 1))
    return alike


def _least_lead(scores: Array, labels: NDArray[np.int64]) -> float:
    """The smallest from which on enough of the examples are claimed rightly; infinite where none is."""
    ordered = np.sort(scores, axis=1)
    leads = ordered[:, -1] - ordered[:, -2]
    surest_first = np.argsort(-leads, kind="stable")
    right = (scores.argmax(axis=1) == labels)[surest_first]
    enough = np.flatnonzero(np.cumsum(right) >= _RIGHT * np.arange(1, len(right) + 1))
    return float(leads[surest_first[enough[-1]]]) if len(enough) else float("inf")
