"""Probability tables of zero-centred Gaussians over integers: one per deviation, known to both sides.

A coder that names a channel's deviation with a few bits has that channel's table without sending it.
The frequencies are integers made of `math.erf`; platforms may differ in its last bit, so a test holds
that no frequency lies near enough to a rounding boundary for that to matter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from codec.rans_tables import Tables, fit_tables

COUNTS = 1 << 24


def gaussian_tables(deviations: Sequence[float], lowest: int, highest: int) -> Tables:
    """Row i is N(0, deviations[i]²) over the integers [lowest, highest], the tails added to the outermost two.

    Symbol s stands for the integer s + lowest; every symbol can be coded under every table.
    """
    return fit_tables(np.maximum(np.rint(expected_counts(deviations, lowest, highest)), 1).astype(np.int64))


def expected_counts(deviations: Sequence[float], lowest: int, highest: int) -> np.ndarray:
    """How often each integer is expected among 2^24 draws, float64 `[deviation, symbol]`."""
    edges = [edge - 0.5 for edge in range(lowest + 1, highest + 1)]
    up_to = np.array([[0.0, *(below(edge / deviation) for edge in edges), 1.0] for deviation in deviations])
    return np.diff(up_to, axis=1) * COUNTS


def below(x: float) -> float:
    """Probability that a standard normal number is below `x`."""
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))
