"""Fitting the family of probability tables to what calibration saw: Lloyd's algorithm on histograms.

Every column joins the table that codes it shortest, every table becomes the distribution of the numbers
that were coded under it, and so on; the bits can only fall. Tables begin as generalized Gaussians of their
scale, which also stand in for what calibration saw too little of. Signs are a matter of each eigenvector's
direction, so tables are made symmetric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codec.column_tables import (
    ESCAPE,
    NUM_EXPECTATIONS,
    NUM_SCALES,
    NUM_SYMBOLS,
    NUM_TABLES,
    REACH,
    SMALLEST_SCALE,
    ColumnTables,
    histograms,
    shifted,
)
from codec.emphasis import CLASSES
from codec.rans_tables import fit_tables

_ROUNDS = 4
_EXPONENTS = (0.9, 1.6)
_PRIOR = 500.0  # numbers that a table's beginning counts for


@dataclass(frozen=True)
class SeenColumns:
    """Symbols uint8 `[row, column]`, the classes of the rows, and the columns' expectations."""

    symbols: np.ndarray
    classes: np.ndarray
    expected: np.ndarray


def fit_column_tables(seen: Sequence[SeenColumns]) -> ColumnTables:
    prior = _generalized_gaussians()
    tables = ColumnTables(fit_tables(prior).frequencies, np.repeat(_flat(), NUM_EXPECTATIONS + 1, axis=0))
    for _ in range(_ROUNDS):
        counts, side = np.zeros((NUM_TABLES, NUM_SYMBOLS)), np.zeros((NUM_EXPECTATIONS + 1, NUM_TABLES + 1))
        for each in seen:
            chosen = tables.choose(each.symbols, each.classes, each.expected)
            np.add.at(side, (each.expected, chosen), 1)
            side[-1, :CLASSES] += np.bincount(each.classes, minlength=CLASSES)
            coded = np.flatnonzero(chosen)
            under = shifted(chosen[coded] - 1)
            for number in np.unique(each.classes):
                rows = each.symbols[each.classes == number]
                np.add.at(counts, under[number], histograms(rows[:, coded]))
        tables = ColumnTables(fit_tables(_symmetric(counts) + _PRIOR * prior).frequencies, _sides(side))
    return tables


def _generalized_gaussians() -> np.ndarray:
    """Probabilities `[table, symbol]`."""
    edges = (np.arange(-64 * REACH - 32, 64 * REACH + 33)[:-1] + 0.5) / 64
    symbols = np.rint(edges).astype(np.int64) + REACH
    rows = []
    for scale in SMALLEST_SCALE * np.exp2(np.arange(NUM_SCALES) / 2):
        for exponent in _EXPONENTS:
            density = np.exp(-((np.abs(edges) / scale) ** exponent))
            row = np.bincount(symbols, density, minlength=NUM_SYMBOLS)
            row[ESCAPE] = density[0] * 64
            rows.append(row / row.sum())
    return np.array(rows)


def _symmetric(counts: np.ndarray) -> np.ndarray:
    both = counts.copy()
    both[:, :ESCAPE] = (counts[:, :ESCAPE] + counts[:, ESCAPE - 1 :: -1]) / 2
    return both


def _flat() -> np.ndarray:
    """Frequencies under which no choice is dearer than another, near enough."""
    return fit_tables(np.ones((1, NUM_TABLES + 1))).frequencies


def _sides(side: np.ndarray) -> np.ndarray:
    """Choices and classes that were never seen stay possible, at the least frequency there is."""
    side = side.copy()
    for row in np.flatnonzero(side[:-1].sum(axis=1) == 0):  # never seen: as what was seen nearest to it
        seen = np.flatnonzero(side[:-1].sum(axis=1) >= 1)
        side[row] = side[seen[np.abs(seen - row).argmin()]] * 0.5 if seen.size else 1
    side[-1, :CLASSES] += 1
    return fit_tables(side + 0.02).frequencies
