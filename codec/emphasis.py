"""Emphasis: which tokens deserve finer steps, guessed from their KV alone.

How much the model's predictions depend on a token differs by orders of magnitude: delimiters and names
draw attention, most tokens hardly any. At one loss, a token that is w times as sensitive should have a
step w^½ times as fine (the allocation behind reverse water-filling, between tokens instead of components).
Nobody knows w when KV is stored, since the questions are still to come; but a regression on the token's
own components says a part of it, and the encoder is free to use any guess, because it sends the outcome:
an integer per token, its emphasis. A token of emphasis a is coded with a step 2^(-a/2) times as large.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST = 6
CLASSES = 2 * MOST + 1
"""Emphases are within [-MOST, MOST]; class c is emphasis c - MOST."""
_CLIP = 9.0  # of a squared feature: outliers beyond three deviations tell nothing more
_BOLDNESS = 0.8  # of the regression's guess: a wrong guess costs more than a timid one
_RIDGE = 0.02
_LEAST_ENERGY = 1e-3  # of the mean


@dataclass(frozen=True, eq=False)
class Emphasis:
    """`weights` float32 `[2 * features + 1]`: of the strongest components, of their squares, and a constant."""

    weights: np.ndarray

    def of(self, z: np.ndarray, deviations: np.ndarray) -> np.ndarray:
        """The class of each token, uint8, for components `z` `[token, component]` of these deviations."""
        guess = features(z, deviations, len(self.weights) // 2) @ self.weights
        classes: np.ndarray = (np.clip(np.rint(guess), -MOST, MOST) + MOST).astype(np.uint8)
        return classes


def step_factors(classes: np.ndarray) -> np.ndarray:
    """What each token's step is multiplied by, float32 `[token, 1]`."""
    return np.exp2((MOST - classes.astype(np.float32)) / 2)[:, None]


def features(z: np.ndarray, deviations: np.ndarray, number: int) -> np.ndarray:
    """Float32 `[token, 2 * number + 1]` of components `[token, component]`: what the guess is linear in."""
    strongest = np.argsort(-deviations, kind="stable")[:number]
    with np.errstate(over="ignore"):
        scaled = z[:, strongest] / np.maximum(deviations[strongest], np.finfo(np.float32).tiny)
    scaled = np.clip(scaled, -1e6, 1e6)
    return np.hstack([scaled, np.minimum(scaled**2, _CLIP), np.ones((len(z), 1), np.float32)])


class EmphasisFit:
    """Sums for the regression of the logarithm of a token's sensitivity on its features."""

    def __init__(self, num_features: int) -> None:
        size = 2 * num_features + 1
        self._normal, self._target, self._num_features = np.zeros((size, size)), np.zeros(size), num_features

    def add(self, z: np.ndarray, deviations: np.ndarray, energy: np.ndarray) -> None:
        """Counts tokens in: components `[token, component]`, and the squared length of their gradient in
        coordinates where all errors are equally bad, `[token]`."""
        x = features(z, deviations, self._num_features).astype(np.float64)
        octaves = np.log2(energy + _LEAST_ENERGY * energy.mean() + np.finfo(np.float64).tiny)
        self._normal += x.T @ x
        self._target += x.T @ octaves

    def fitted(self) -> Emphasis:
        """Guesses are centred: half the emphasis is above zero, half below."""
        ridge = _RIDGE * np.trace(self._normal) / len(self._normal) * np.eye(len(self._normal))
        num_tokens, mean = self._normal[-1, -1], self._target[-1] / max(self._normal[-1, -1], 1)
        if not num_tokens:
            return Emphasis(np.zeros(len(self._target), np.float32))
        weights = np.linalg.solve(self._normal + ridge, self._target - mean * self._normal[-1])
        return Emphasis((_BOLDNESS * weights).astype(np.float32))
