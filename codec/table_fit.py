"""Fitting a family of probability tables to what calibration saw: Lloyd's algorithm on histograms.

Every column joins the table that codes it shortest, every table becomes the distribution of the columns
that joined it, and so on; the bits can only fall. Signs are a matter of each eigenvector's direction, so
tables are made symmetric.
"""

from __future__ import annotations

import numpy as np

from codec.column_tables import ESCAPE, ESCAPE_BITS, NUM_EXPECTATIONS, NUM_SYMBOLS, REACH, ColumnTables, bits_of
from codec.rans_tables import fit_tables

_ROUNDS = 12


def fit_column_tables(counts: np.ndarray, expected: np.ndarray, num_tables: int) -> ColumnTables:
    """The family for columns with these `histograms` `[column, symbol]` and `expectations` `[column]`."""
    is_zero = counts[:, REACH] == counts.sum(axis=1)
    nonzero = counts[~is_zero].astype(np.float32)
    joined = _by_width(nonzero, num_tables)
    for _ in range(_ROUNDS):
        frequencies = _frequencies(nonzero, joined, num_tables)
        bits = bits_of(frequencies).T.astype(np.float32)
        bits[ESCAPE] += ESCAPE_BITS
        joined = (nonzero @ bits).argmin(axis=1)
    choice = np.zeros(len(counts), np.int64)
    choice[~is_zero] = 1 + joined
    return ColumnTables(frequencies, _choices(choice, expected, num_tables))


def _by_width(counts: np.ndarray, num_tables: int) -> np.ndarray:
    """Columns in as many groups of equal size, by their mean magnitude."""
    magnitude = np.abs(np.arange(NUM_SYMBOLS) - REACH).astype(np.float32)
    width = counts @ magnitude / counts.sum(axis=1)
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(width, kind="stable")] = np.arange(len(counts))
    return rank * num_tables // max(len(counts), 1)


def _frequencies(counts: np.ndarray, joined: np.ndarray, num_tables: int) -> np.ndarray:
    """The tables `[table, symbol]` of what joined them."""
    pooled = np.zeros((num_tables, NUM_SYMBOLS))
    for table in range(num_tables):
        pooled[table] = counts[joined == table].sum(axis=0)
    pooled[:, :ESCAPE] += pooled[:, ESCAPE - 1 :: -1]
    pooled[:, ESCAPE] *= 2
    return fit_tables(pooled).frequencies


def _choices(choice: np.ndarray, expected: np.ndarray, num_tables: int) -> np.ndarray:
    pooled = np.zeros((NUM_EXPECTATIONS, num_tables + 1))
    np.add.at(pooled, (expected, choice), 1)
    for row in np.flatnonzero(pooled.sum(axis=1) == 0):  # never seen: as what was seen nearest to it
        seen = np.flatnonzero(pooled.sum(axis=1) >= 1)
        pooled[row] = pooled[seen[np.abs(seen - row).argmin()]] * 0.5 if seen.size else 1
    return fit_tables(pooled).frequencies
