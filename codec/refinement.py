"""Refinement: one quantizer in three stages, of which a reader may take the first, or the first two.

An embedded quantizer (Shapiro 1993; Taubman, IEEE TIP 2000, "bit planes"). What all stages say is n, the nearest
whole multiple of the last step. The first says q = (|n| + 1) // 4 and the sign: a component is zero, which means
|n| <= 2, or in a cell of four. The second says which zeros are ±2, and in which half of its cell every other
component is; the third says which zeros are ±1, and n. So

* zeros are coded: -1, 0 or 1. What leaves is known exactly, and stays as it is;
* cells are cut in halves by one plain bit: nothing is known of which it is;
* before the last stage, a component is put at zero or in the middle of its cell.

Nothing is said twice, so all stages together take about what one quantizer of the last step does. Where a
component is likely to leave zero is known to both sides without a word: from the table that its column was
coded under first, or, of a column of zeros, from its deviation, and from the emphases of the tokens.

A stream, little-endian: u32, the bytes of the bits; the bits, row by row, the first the highest; and a
`codec.rans` stream of one row: the zeros' symbols, 0 to 2 for -1 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from codec import rans
from codec.column_codes import Columns
from codec.column_tables import NUM_SHAPES, SMALLEST_SCALE, scale_of_expectation
from codec.emphasis import MOST
from codec.errors import CorruptFrame
from codec.rans_tables import Tables, fit_tables

COUNT = np.dtype("<u4")
PER_STAGE = 2  # half octaves
LOWEST_SCALE, HIGHEST_SCALE = -8, 24  # half octaves; scale 0 is the narrowest of `column_tables`
_LANES = 32
_EXPONENT, _NARROWER = 0.8, 2.0**-0.5  # of the density of zeros to be, exp(-|z / (scale * narrower)|^exponent)
DOUBT = 1  # half octaves that a column of zeros is narrower than its deviation says
_LEAVING = ((0.75, 1.25), (0.5, 1.5))  # by stage, in its steps: where a zero leaves, and how far from zero it may be
_LEAVES, HALF, OFF_MIDDLE = np.float32(0.75), np.float32(0.5), np.float32(0.125)


@dataclass
class Cells:
    """What is known of components `[row, column]`: whether they are zero, or in a cell that is to be cut;
    `scales` `[class, column]` says how wide the columns are, in half octaves, in steps of the first stage."""

    is_zero: np.ndarray
    is_wide: np.ndarray
    scales: np.ndarray
    stage: int = 0

    @classmethod
    def of(cls, columns: Columns, classes: np.ndarray, expected: np.ndarray) -> Cells:
        """After the first stage."""
        is_wide = np.zeros((len(classes), len(expected)), bool)
        is_wide[:, columns.coded] = columns.multiples != 0
        scales = scale_of_expectation(expected) - DOUBT
        scales[columns.coded] = columns.tables // NUM_SHAPES
        return cls(~is_wide, is_wide, scales + np.arange(-MOST, MOST + 1)[:, None])

    def tables_of_zeros(self, classes: np.ndarray) -> np.ndarray:
        """The table of every zero, row by row, at the stage that comes."""
        num_scales = HIGHEST_SCALE - LOWEST_SCALE
        wider: np.ndarray = self.scales + (PER_STAGE * (self.stage + 1) - LOWEST_SCALE)
        wider = np.clip(wider, 0, num_scales - 1) + self.stage * num_scales
        tables: np.ndarray = wider[classes][self.is_zero]
        return tables


def first_stage(multiples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of multiples of the first step: what the first stage codes, and the multiples rounded to the last step."""
    nearest = np.rint(4 * multiples)
    return np.copysign(np.floor((np.abs(nearest) + 1) / 4), nearest), nearest / 4


def middles(coded: np.ndarray) -> np.ndarray:
    """Where the components lie that the first stage coded so, in its steps."""
    places: np.ndarray = coded + np.sign(coded) * OFF_MIDDLE
    return places


def pack(cells: Cells, left: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The stream, uint8, of what is left of the components, `[row, column]` in steps of this stage."""
    bits = np.packbits(left[cells.is_wide] >= 0)
    zeros = left[cells.is_zero]
    symbols = (1 + np.sign(zeros) * (np.abs(zeros) >= _LEAVES)).astype(np.uint8)
    stream = rans.encode(symbols[None], cells.tables_of_zeros(classes), zero_tables(), _LANES)
    return np.concatenate([np.array([bits.size], COUNT).view(np.uint8), bits, stream])


def unpack(cells: Cells, packed: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """What the components move by, float32 `[row, column]` in steps of this stage; `cells` become its own.

    Raises CorruptFrame when the bytes are not what `pack` gives for such cells.
    """
    start, num_wide = COUNT.itemsize, int(np.count_nonzero(cells.is_wide))
    num_bytes = int(packed[:start].view(COUNT)[0]) if packed.size >= start else -1
    if num_bytes != -(-num_wide // 8) or start + num_bytes > packed.size:
        raise CorruptFrame(f"a refinement of {packed.size} bytes does not hold {num_wide} bits")
    bits = np.unpackbits(packed[start : start + num_bytes], count=num_wide)
    symbols = rans.decode(packed[start + num_bytes :], 1, cells.tables_of_zeros(classes), zero_tables())[0]
    moves = np.zeros(cells.is_zero.shape, np.float32)
    moves[cells.is_wide] = np.where(bits, HALF, -HALF)
    moves[cells.is_zero] = symbols.astype(np.float32) - 1
    cells.is_zero &= moves == 0
    cells.stage += 1
    return moves


@cache
def zero_tables() -> Tables:
    """One for every scale, stage by stage."""
    scales = _NARROWER * SMALLEST_SCALE * np.exp2(np.arange(LOWEST_SCALE, HIGHEST_SCALE) / 2)
    rows = []
    for leaves, ends in _LEAVING:
        edges = (np.arange(1024) + 0.5) / 1024 * ends
        density = np.exp(-((edges / scales[:, None]) ** _EXPONENT))
        leaving = density[:, edges >= leaves].sum(axis=1) / density.sum(axis=1)
        rows.append(np.stack([leaving / 2, 1 - leaving, leaving / 2], axis=1))
    return fit_tables(np.concatenate(rows))
