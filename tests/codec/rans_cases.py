"""Symbols, tables and columns for the entropy coder's tests."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from codec.rans_tables import NUM_SLOTS, Tables, fit_tables


@dataclass(frozen=True)
class Case:
    symbols: np.ndarray
    table_of_column: np.ndarray
    tables: Tables
    num_lanes: int = 32
    class_of_row: np.ndarray | None = None


@st.composite
def cases(draw):
    """Any shape of symbols under tables from flat to as skewed as they get; symbols likely, or uniform."""
    chosen = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    rows, columns = draw(st.integers(0, 12)), draw(st.integers(1, 70))
    num_tables, num_symbols = draw(st.integers(1, 5)), draw(st.integers(1, 256))
    counts = chosen.random((num_tables, num_symbols)) ** draw(st.sampled_from([0, 1, 20, 2000]))
    tables = fit_tables(counts)
    table_of_column, class_of_row = chosen.integers(0, num_tables, columns), None
    if draw(st.booleans()):
        num_classes = draw(st.integers(1, 20))
        table_of_column = chosen.integers(0, num_tables, (num_classes, columns))
        class_of_row = np.repeat(chosen.integers(0, num_classes, rows), draw(st.integers(1, 4)))[:rows]
    if draw(st.booleans()):
        symbols = symbols_from(tables, table_of_column, rows, draw(st.integers(0, 99)), class_of_row)
    else:
        symbols = chosen.integers(0, num_symbols, (rows, columns)).astype(np.uint8)
    return Case(symbols, table_of_column, tables, draw(st.sampled_from([8, 16, 32, 64])), class_of_row)


def laplace_tables(num_tables, scales=None, num_symbols=64):
    """Two-sided exponentials around the middle of the alphabet, from narrow to wide."""
    scales = np.geomspace(0.3, 4.0, num_tables) if scales is None else np.array(scales)
    distance = np.abs(np.arange(num_symbols) - num_symbols // 2)
    return fit_tables(np.exp(-distance / scales[:, None]))


def symbols_from(tables, table_of_column, num_rows, seed=0, class_of_row=None):
    """Symbols as likely as their tables say, uint8 `[num_rows, column]`."""
    table_of_symbol = np.asarray(table_of_column)[None, :] if class_of_row is None else table_of_column[class_of_row]
    slots = np.random.default_rng(seed).integers(0, NUM_SLOTS, (num_rows, table_of_symbol.shape[1]))
    return (tables.slots[table_of_symbol, slots] & 255).astype(np.uint8)


def bits_per_symbol(symbols, table_of_column, tables):
    """Cross-entropy of the symbols under their tables."""
    return float(-np.log2(tables.frequencies[np.asarray(table_of_column)[None, :], symbols] / NUM_SLOTS).mean())
