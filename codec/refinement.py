"""Refinement: half a step more for components that are known to within a step, or known to be nearly zero.

An embedded quantizer (Shapiro 1993; Taubman, IEEE TIP 2000, "bit planes"). Before it a component is either zero,
which means within half of the step before, [-1, 1] in steps of this one; or it lies in a cell of two, one, or half
of this one's steps. Then

* zeros are coded: -1, 0 or 1. What becomes ±1 lies in (½, 1], so it is put at ±¾, in a cell of half a step;
* cells of two steps are cut in halves by one plain bit: nothing is known of which it is;
* narrower cells stay as they are.

Nothing is said twice, so all stages together take about what one quantizer of the last step does. Where a
component is likely to leave zero is known to both sides without a word: from the table that its column was
coded under before, or, of a column of zeros, from its deviation, and from the emphases of the tokens.

A stream, little-endian: u32, the bytes of the bits; the bits, row by row, the first the highest; and a
`codec.rans` stream of one row: the zeros' symbols, 0 to 2 for -1 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from codec import rans
from codec.column_codes import Columns
from codec.column_tables import NUM_SHAPES, SMALLEST_SCALE, scale_of_expectation
from codec.emphasis import MOST
from codec.errors import CorruptFrame
from codec.rans_tables import Tables, fit_tables

_COUNT = np.dtype("<u4")
_PER_STAGE = 2  # half octaves
_LOWEST_SCALE, _HIGHEST_SCALE = -8, 24  # half octaves; scale 0 is the narrowest of `column_tables`
_LANES = 32
_EXPONENT, _NARROWER = 0.8, 2.0**-0.5  # of the density of zeros to be, exp(-|z / (scale * narrower)|^exponent)
_DOUBT = 1  # half octaves that a column of zeros is narrower than its deviation says
_PUT_AT, _QUARTER = np.float32(0.75), np.float32(0.5)


@dataclass
class Cells:
    """What is known of components `[row, column]`: `width` in steps of the stage that was, 0 where they are zero;
    `scales` `[class, column]` says how wide the columns are, in half octaves, in steps of the first stage."""

    width: np.ndarray
    scales: np.ndarray
    stage: int = 0

    @classmethod
    def of(cls, columns: Columns, classes: np.ndarray, expected: np.ndarray) -> Cells:
        """After the first stage."""
        width = np.zeros((len(classes), len(expected)), np.float32)
        width[:, columns.coded] = columns.multiples != 0
        scales = scale_of_expectation(expected) - _DOUBT
        scales[columns.coded] = columns.tables // NUM_SHAPES
        return cls(width, scales + np.arange(-MOST, MOST + 1)[:, None])

    def tables_of_zeros(self, classes: np.ndarray, is_zero: np.ndarray) -> np.ndarray:
        """The table of every zero, row by row, at the stage that comes."""
        wider = self.scales + (_PER_STAGE * (self.stage + 1) - _LOWEST_SCALE)
        tables: np.ndarray = np.clip(wider, 0, _zero_tables().num_tables - 1)[classes][is_zero]
        return tables


def pack(cells: Cells, left: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The stream, uint8, of what is left of the components, `[row, column]` in steps of this stage."""
    is_zero, is_wide = _parts(cells)
    bits = np.packbits(left[is_wide] >= 0)
    symbols = (np.clip(np.rint(left[is_zero]), -1, 1) + 1).astype(np.uint8)
    stream = rans.encode(symbols[None], cells.tables_of_zeros(classes, is_zero), _zero_tables(), _LANES)
    return np.concatenate([np.array([bits.size], _COUNT).view(np.uint8), bits, stream])


def unpack(cells: Cells, packed: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """What the components move by, float32 `[row, column]` in steps of this stage; `cells` become its own.

    Raises CorruptFrame when the bytes are not what `pack` gives for such cells.
    """
    is_zero, is_wide = _parts(cells)
    start, num_wide = _COUNT.itemsize, int(np.count_nonzero(is_wide))
    num_bytes = int(packed[:start].view(_COUNT)[0]) if packed.size >= start else -1
    if num_bytes != -(-num_wide // 8) or start + num_bytes > packed.size:
        raise CorruptFrame(f"a refinement of {packed.size} bytes does not hold {num_wide} bits")
    bits = np.unpackbits(packed[start : start + num_bytes], count=num_wide)
    tables = cells.tables_of_zeros(classes, is_zero)
    symbols = rans.decode(packed[start + num_bytes :], 1, tables, _zero_tables())[0]
    moves = np.zeros(cells.width.shape, np.float32)
    moves[is_wide] = np.where(bits, _QUARTER, -_QUARTER)
    moves[is_zero] = (symbols.astype(np.float32) - 1) * _PUT_AT
    cells.width *= 2
    cells.width[is_wide] = 1
    cells.width[is_zero & (moves != 0)] = 0.5
    cells.stage += 1
    return moves


def _parts(cells: Cells) -> Sequence[np.ndarray]:
    """Which are zero, and which lie in cells of two of the coming stage's steps."""
    return cells.width == 0, cells.width >= 1


@cache
def _zero_tables() -> Tables:
    """One for every scale, and those that finer steps make of them."""
    edges = (np.arange(1024) + 0.5) / 1024
    scales = _NARROWER * SMALLEST_SCALE * np.exp2(np.arange(_LOWEST_SCALE, _HIGHEST_SCALE) / 2)
    density = np.exp(-((edges / scales[:, None]) ** _EXPONENT))
    leaving = density[:, 512:].sum(axis=1) / density.sum(axis=1)
    return fit_tables(np.stack([leaving / 2, 1 - leaving, leaving / 2], axis=1))
