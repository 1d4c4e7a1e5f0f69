"""Probability tables for columns of small integers: a shared family, of which every column picks one.

A column is one component's multiples of the step over a chunk's tokens. How wide they spread is known
roughly from calibration (the component's deviation over the step) and varies from text to text, so the
encoder picks for each column the table that makes it shortest and says which: the choice is coded too,
under a distribution that depends on what calibration expects. A step of any size uses the same family.
Choice 0 says that a column is zero throughout: nothing more of it is stored, or decoded.

Symbols are `integer + REACH`; what lies beyond the reach is the symbol `ESCAPE`, and its number is stored
beside the stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from codec.errors import CorruptFrame
from codec.rans import decode, encode
from codec.rans_tables import NUM_SLOTS, Tables

REACH = 30
ESCAPE = 2 * REACH + 1
NUM_SYMBOLS = ESCAPE + 1
ESCAPE_BITS = 32
NUM_EXPECTATIONS = 32
_PER_OCTAVE, _LOWEST = 2, -16
_MAX_TABLES = 255  # and the choice of none fit into a byte
_CHOICE_LANES, _LANES = 8, 16  # streams are short: few hundred choices, some ten thousand symbols


def expectations(deviations: np.ndarray, step: float) -> np.ndarray:
    """What is expected of columns that vary by `deviations`: half octaves of deviation over step, `[column]`."""
    with np.errstate(divide="ignore", over="ignore"):
        octaves = np.log2(deviations / np.float32(step))
    expected: np.ndarray = np.clip(np.rint(_PER_OCTAVE * octaves) - _LOWEST, 0, NUM_EXPECTATIONS - 1)
    return expected.astype(np.uint8)


def histograms(symbols: np.ndarray) -> np.ndarray:
    """How often each symbol stands in each column of uint8 `[row, column]`: `[column, symbol]`."""
    num_columns = symbols.shape[1]
    place = np.arange(num_columns) * NUM_SYMBOLS + symbols
    return np.bincount(place.ravel(), minlength=num_columns * NUM_SYMBOLS).reshape(num_columns, NUM_SYMBOLS)


def bits_of(frequencies: np.ndarray) -> np.ndarray:
    """What each outcome costs under each distribution `[distribution, outcome]`, in bits."""
    bits: np.ndarray = np.log2(NUM_SLOTS) - np.log2(frequencies.astype(np.float64))
    return bits


@dataclass(frozen=True, eq=False)
class ColumnTables:
    """`frequencies` uint16 `[table, symbol]`; `choices` uint16 `[expectation, 1 + table]`. Rows add up to 4096."""

    frequencies: np.ndarray
    choices: np.ndarray

    def __post_init__(self) -> None:
        shapes = (self.frequencies.shape, self.choices.shape)
        num_tables = self.frequencies.size // NUM_SYMBOLS
        if num_tables > _MAX_TABLES or shapes != ((num_tables, NUM_SYMBOLS), (NUM_EXPECTATIONS, num_tables + 1)):
            raise CorruptFrame(f"tables of shapes {shapes} are none of this format")
        try:
            _ = self._tables, self._choice_tables
        except ValueError as error:
            raise CorruptFrame(f"the tables are no distributions: {error}") from error

    @cached_property
    def _tables(self) -> Tables:
        return Tables(self.frequencies)

    @cached_property
    def _choice_tables(self) -> Tables:
        return Tables(self.choices)

    @cached_property
    def _bits(self) -> tuple[np.ndarray, np.ndarray]:
        """Costs `[symbol, table]`, an escape's number included, and `[expectation, 1 + table]`."""
        symbol_bits = bits_of(self.frequencies).T.copy()
        symbol_bits[ESCAPE] += ESCAPE_BITS
        return symbol_bits, bits_of(self.choices)

    def choose(self, counts: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """The cheapest choice, uint8 `[column]`, for columns with these `histograms`."""
        symbol_bits, choice_bits = self._bits
        bits = choice_bits[expected]
        bits[:, 1:] += counts @ symbol_bits
        bits[counts[:, REACH] != counts.sum(axis=1), 0] = np.inf
        chosen: np.ndarray = bits.argmin(axis=1)
        return chosen.astype(np.uint8)

    def encode(self, symbols: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The streams, uint8, of the choices and of `symbols`, uint8 `[row, column]`."""
        chosen = self.choose(histograms(symbols), expected)
        coded = np.flatnonzero(chosen)
        choices = encode(chosen[None], expected, self._choice_tables, _CHOICE_LANES)
        if not coded.size:
            return choices, choices[:0]
        return choices, encode(np.ascontiguousarray(symbols[:, coded]), chosen[coded] - 1, self._tables, _LANES)

    def decode(
        self, choices: np.ndarray, stream: np.ndarray, num_rows: int, expected: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which columns are not zero, and their symbols, uint8 `[row, those columns]`.

        Raises CorruptFrame when the streams are not what `encode` gives for so many rows.
        """
        chosen = decode(choices, 1, expected, self._choice_tables)[0]
        coded = np.flatnonzero(chosen)
        if coded.size:
            return coded, decode(stream, num_rows, chosen[coded] - 1, self._tables)
        if stream.size:
            raise CorruptFrame("a stream of no symbols is not empty")
        return coded, np.empty((num_rows, 0), np.uint8)
