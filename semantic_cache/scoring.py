"""The score: boosted trees over the numbers of an alignment, as `python -m benchmarks.judge_training` fits them.

Friedman, Greedy function approximation: a gradient boosting machine (2001), section 4.3, with constraints: what speaks
for two questions being the same never lowers the score.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kvstore.errors import CorruptFrame

WEIGHTS = Path(__file__).parent / "weights" / "judge.json"


@dataclass(frozen=True)
class Trees:
    """Complete binary trees of one depth: the children of node i are 2 i + 1 and 2 i + 2."""

    features: tuple[str, ...]
    base: float
    """Log odds before any tree."""
    feature: NDArray[np.intp]
    """[tree, inner node]"""
    threshold: NDArray[np.float64]
    """[tree, inner node]: at most this goes left."""
    leaf: NDArray[np.float64]
    """[tree, leaf]: log odds to add."""
    fingerprint: str

    def score(self, numbers: NDArray[np.float64]) -> float:
        """Of [feature], from 0 to 1."""
        trees = np.arange(len(self.leaf))
        node = np.zeros(len(self.leaf), np.intp)
        for _ in range(int(np.log2(self.leaf.shape[1]))):
            right = numbers[self.feature[trees, node]] > self.threshold[trees, node]
            node = 2 * node + 1 + right
        odds = self.base + self.leaf[trees, node - self.feature.shape[1]].sum()
        return float(1 / (1 + np.exp(-odds)))


def load_trees(path: Path = WEIGHTS) -> Trees:
    """Raises CorruptFrame where the file is not what the training writes."""
    content = path.read_bytes()
    try:
        fields = json.loads(content)
        trees = Trees(
            features=tuple(fields["features"]),
            base=float(fields["base"]),
            feature=np.array(fields["feature"], np.intp),
            threshold=np.array(fields["threshold"], np.float64),
            leaf=np.array(fields["leaf"], np.float64),
            fingerprint=blake2b(content, digest_size=8).hexdigest(),
        )
        count, inner = trees.feature.shape
        whole = (
            trees.threshold.shape == (count, inner)
            and trees.leaf.shape == (count, inner + 1)
            and (inner + 1) & inner == 0
            and 0 <= int(trees.feature.min()) <= int(trees.feature.max()) < len(trees.features)
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFrame(f"{path} does not hold the weights of the judge: {error}") from error
    if not whole:
        raise CorruptFrame(f"{path} does not hold the weights of the judge: its arrays do not fit each other")
    return trees
