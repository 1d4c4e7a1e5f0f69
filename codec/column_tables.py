"""Probability tables for columns of small integers: a shared family, of which every column picks one.

A column is one component's multiples of the step over a chunk's tokens. How wide they spread is known
roughly from calibration (the component's deviation over the step) and varies from text to text, so the
encoder picks for each column the table that makes it shortest and says which: the choice is coded too,
under a distribution that depends on what calibration expects. A step of any size uses the same family.

The family is a grid: `NUM_SCALES` widths, half an octave apart, times `NUM_SHAPES`. A token of emphasis a
has steps 2^(-a/2) times as large, so its numbers are 2^(a/2) times as wide: they are coded under the table
a widths further up. Choice 0 says that a column is zero throughout: nothing more of it is stored, or decoded.

Symbols are `integer + REACH`; what lies beyond the reach is the symbol `ESCAPE`, its number stored elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numba import njit

from codec.emphasis import CLASSES, MOST
from codec.errors import CorruptFrame
from codec.rans_tables import NUM_SLOTS, Tables

REACH = 30
ESCAPE = 2 * REACH + 1
NUM_SYMBOLS = ESCAPE + 1
ESCAPE_BITS = 9
NUM_SCALES, NUM_SHAPES = 20, 2
NUM_TABLES = NUM_SCALES * NUM_SHAPES
NUM_EXPECTATIONS = 32
SMALLEST_SCALE = 2.0**-4
_PER_OCTAVE, _LOWEST, _LOWEST_SCALE = 2, -16, -8  # half octaves


def expectations(deviations: np.ndarray, step: float) -> np.ndarray:
    """What is expected of columns that vary by `deviations`: half octaves of deviation over step, `[column]`."""
    with np.errstate(divide="ignore", over="ignore"):
        octaves = np.log2(deviations / np.float32(step))
    expected: np.ndarray = np.clip(np.rint(_PER_OCTAVE * octaves) - _LOWEST, 0, NUM_EXPECTATIONS - 1)
    return expected.astype(np.uint8)


def histograms(symbols: np.ndarray) -> np.ndarray:
    """How often each symbol stands in each column of uint8 `[row, column]`: float32 `[column, symbol]`."""
    num_columns = symbols.shape[1]
    place = np.arange(num_columns) * NUM_SYMBOLS + symbols
    counts = np.bincount(place.ravel(), minlength=num_columns * NUM_SYMBOLS)
    return counts.reshape(num_columns, NUM_SYMBOLS).astype(np.float32)


def scale_of_expectation(expected: np.ndarray) -> np.ndarray:
    """The scale, int64, of columns that vary as expected."""
    return expected.astype(np.int64) + (_LOWEST - _LOWEST_SCALE)


def shifted(tables: np.ndarray) -> np.ndarray:
    """Which table codes a column's numbers in rows of each class, `[class, column]`; `tables` of emphasis 0."""
    moved: np.ndarray = _shifts()[:, tables]
    return moved


@cache
def _shifts() -> np.ndarray:
    """As `shifted`, of every table."""
    scales, shapes = np.divmod(np.arange(NUM_TABLES), NUM_SHAPES)
    moved = np.clip(scales + np.arange(-MOST, MOST + 1)[:, None], 0, NUM_SCALES - 1)
    shifts: np.ndarray = moved * NUM_SHAPES + shapes
    return shifts


def bits_of(frequencies: np.ndarray) -> np.ndarray:
    """What each outcome costs under each distribution `[distribution, outcome]`, in bits, float32."""
    bits: np.ndarray = (np.log2(NUM_SLOTS) - np.log2(frequencies.astype(np.float64))).astype(np.float32)
    return bits


@dataclass(frozen=True, eq=False)
class ColumnTables:
    """`frequencies` uint16 `[table, symbol]`; `side` uint16 `[expectation, then one for classes; outcome]`, where
    an outcome is a choice (0, then 1 + table) or a class of emphasis. Rows add up to 4096."""

    frequencies: np.ndarray
    side: np.ndarray

    def __post_init__(self) -> None:
        shapes = (self.frequencies.shape, self.side.shape)
        if shapes != ((NUM_TABLES, NUM_SYMBOLS), (NUM_EXPECTATIONS + 1, NUM_TABLES + 1)):
            raise CorruptFrame(f"tables of shapes {shapes} are none of this format")
        try:
            _ = self.symbols, self.sides
        except ValueError as error:
            raise CorruptFrame(f"the tables are no distributions: {error}") from error

    @cached_property
    def symbols(self) -> Tables:
        return Tables(self.frequencies)

    @cached_property
    def sides(self) -> Tables:
        return Tables(self.side)

    @cached_property
    def _costs(self) -> tuple[np.ndarray, np.ndarray]:
        """Bits `[class, symbol, table]`, an escape's number included, and `[expectation, choice]`."""
        bits = bits_of(self.frequencies)[shifted(np.arange(NUM_TABLES))].transpose(0, 2, 1).copy()
        bits[:, ESCAPE] += ESCAPE_BITS
        return bits, bits_of(self.side)

    def choose(self, symbols: np.ndarray, classes: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """The cheapest choice, uint8 `[column]`, for uint8 `[row, column]` of whole numbers; rows have `classes`."""
        symbol_bits, side_bits = self._costs
        of_tables = np.zeros((symbols.shape[1], NUM_TABLES), np.float32)
        add_bits(symbols, classes, symbol_bits, of_tables)
        bits = side_bits[expected]
        bits[:, 1:] += of_tables
        bits[(symbols != REACH).any(axis=0), 0] = np.inf
        return np.asarray(bits.argmin(axis=1), np.uint8)


@njit(cache=True, nogil=True)
def add_bits(symbols: np.ndarray, classes: np.ndarray, bits: np.ndarray, out: np.ndarray) -> None:
    """Adds to `out` `[column, table]` what symbols `[row, column]` cost: `bits` `[class, symbol, table]`, float32."""
    for row in range(symbols.shape[0]):
        of_class = bits[classes[row]]
        for column in range(symbols.shape[1]):
            costs, total = of_class[symbols[row, column]], out[column]
            for table in range(total.size):
                total[table] += costs[table]


assert CLASSES <= NUM_TABLES + 1
