"""Which step for which rate, or which loss: what calibration needs to choose a profile's levels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_GAUSSIAN_BITS = 2.05  # entropy of a Gaussian of deviation 1, rounded to integers


def step_at_rate(deviations: np.ndarray, bits: float) -> float:
    """The step at which components of these `deviations` take about `bits` each, as Gaussians would."""
    low, high = -60.0, 60.0  # octaves
    for _ in range(60):
        octave = (low + high) / 2
        with np.errstate(divide="ignore"):
            rate = np.maximum(np.log2(deviations / 2.0**octave) + _GAUSSIAN_BITS, 0).mean()
        low, high = (octave, high) if rate > bits else (low, octave)
    return float(2.0**low)


def step_at_loss(steps: Sequence[float], losses: Sequence[float], loss: float) -> float:
    """The step at which `loss` is met, by straight lines between the logarithms of what was measured.

    Beyond the smallest and the largest step the nearest line is followed: loss grows with about step².
    """
    order = np.argsort(steps)
    x, y = np.log(np.asarray(steps, float)[order]), np.log(np.maximum(np.asarray(losses, float)[order], 1e-12))
    y = np.maximum.accumulate(y)  # measured on a few texts, a larger step may seem to lose less
    index = int(np.clip(np.searchsorted(y, np.log(loss)), 1, len(x) - 1))
    slope = max((y[index] - y[index - 1]) / (x[index] - x[index - 1]), 0.5)
    return float(np.exp(x[index - 1] + (np.log(loss) - y[index - 1]) / slope))
