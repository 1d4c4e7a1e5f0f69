"""Probability tables for the leading bits of floats: what a Gaussian number of known mean and scale has there.

A float's magnitude lies in a cell: the numbers that share its exponent and its first mantissa bits. Cells
are numbered as those bits count, so that scaling by two shifts the number by the cells of an octave, and any
other scaling by nearly as much for every number. Seen from the cell of a channel's root mean square, a
Gaussian channel therefore has a shape that hangs on one thing alone: how far its mean is from zero. Eight
shapes do for all channels of all scales.

The frequencies are integers made of `math.erf`, as those of `codec.gaussian_tables`.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise

import numpy as np

from codec.gaussian_tables import COUNTS, below
from codec.rans_tables import Tables, fit_tables

MEANS = (0.1, 0.5, 0.9, 1.4, 2.1, 3.2, 5.0, 10.0)
"""Mean over deviation of each shape."""
_BETWEEN = [(lower + upper) / 2 for lower, upper in pairwise(MEANS)]
SHARES = np.array([mean**2 / (1 + mean**2) for mean in _BETWEEN], np.float32)
"""Where one shape gives way to the next: squared mean over mean square."""
OCTAVES, OCTAVES_ABOVE = 12, 2
"""Octaves of magnitude that have symbols of their own, and how many of them lie above the root mean square."""


@cache
def float_tables(cells_per_octave: int) -> Tables:
    """One table per shape of `MEANS`, over `num_cells` cells of magnitude and an escape.

    Symbol 2 c is cell c with the mean's sign, symbol 2 c + 1 the same with the other; the last symbol is any
    number outside of the cells.
    """
    return fit_tables(np.maximum(np.rint(expected_counts(cells_per_octave)), 1).astype(np.int64))


def num_cells(cells_per_octave: int) -> int:
    """Cells with symbols of their own."""
    return OCTAVES * cells_per_octave


def first_cell(cells_per_octave: int) -> int:
    """The lowest of these cells, counted from that of the root mean square."""
    return (OCTAVES_ABOVE - OCTAVES) * cells_per_octave


def expected_counts(cells_per_octave: int) -> np.ndarray:
    """How often each symbol is expected among 2^24 draws, float64 `[shape, symbol]`.

    The mean over channels whose root mean square stands in the middle of each of an octave's cells.
    """
    counts = np.array([[_counts(mean, cell, cells_per_octave) for cell in range(cells_per_octave)] for mean in MEANS])
    means: np.ndarray = counts.mean(axis=1)
    return means


def _counts(mean: float, cell: int, cells_per_octave: int) -> np.ndarray:
    """The counts of one shape when the root mean square is in the middle of this cell of [1, 2)."""
    deviation = (1 + (cell + 0.5) / cells_per_octave) / math.hypot(1, mean)
    first = cell + first_cell(cells_per_octave)
    edges = [_lower_edge(first + cell, cells_per_octave) for cell in range(num_cells(cells_per_octave) + 1)]
    same_sign, other_sign = (
        np.diff([below(sign * edge / deviation - mean) for edge in edges]) * (sign * COUNTS) for sign in (1, -1)
    )
    inside = np.stack([same_sign, other_sign], axis=1).ravel()
    return np.append(inside, COUNTS - inside.sum())


def _lower_edge(cell: int, cells_per_octave: int) -> float:
    """The smallest magnitude in a cell, cell 0 beginning at 1."""
    octave, place = divmod(cell, cells_per_octave)
    return math.ldexp(1 + place / cells_per_octave, octave)
