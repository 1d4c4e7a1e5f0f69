"""Rows of small multiples, times a matrix in 16-bit integers: with AVX2 at nearly twice the rate of float32.

The multiples that `codec.column_codes` and `codec.refinement` give are whole eighths. The matrix is rounded, channel
by channel, to multiples of 1 / `_LARGEST` of the channel's largest number: every number is within 2**-15 of that one.
The magnitudes of a row, in eighths, add up to at most `_MOST`, so no sum leaves 32 bits, in whatever order, and
however many components there are. Rows beyond that, or not of whole eighths, are for others to multiply.

All is the same bit for bit with AVX2 and without. Compiled by numba on first use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from codec import avx2
from codec.int_product_avx2 import CHANNELS, ROWS, multiply_tile

_LARGEST, _MOST = (1 << 14) - 1, (1 << 17) - 1  # their product is below 2^31
_UNIT = np.float32(0.125)
_INT16 = 32767


@dataclass(frozen=True, eq=False)
class IntMatrix:
    """`tiles` int16 `[tile, pair of components, channel, 2]`; `scales`, `offset` float32 `[channel]` of all tiles."""

    tiles: np.ndarray
    scales: np.ndarray
    offset: np.ndarray
    num_channels: int

    @classmethod
    def of(cls, matrix: np.ndarray, offset: np.ndarray) -> IntMatrix:
        """Of float32 `[component, channel]` and `[channel]`."""
        num_components, num_channels = matrix.shape
        scales = np.maximum(matrix.max(axis=0), -matrix.min(axis=0)) / np.float32(_LARGEST)
        tiles = np.zeros((-(-num_channels // CHANNELS), -(-num_components // 2), CHANNELS, 2), np.int16)
        _fill_tiles(matrix, np.where(scales >= np.finfo(np.float32).tiny, scales, np.float32(np.inf)), tiles)
        scales, offset = (np.pad(row, (0, -num_channels % CHANNELS)) for row in (scales * _UNIT, offset))
        return cls(tiles, scales, offset, num_channels)

    def product(self, eighths: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """offset + steps * (eighths / 8 @ matrix), float32 `[row, channel]`.

        For rows as `in_eighths` gives them, of the first components, and float32 `[row]`.
        """
        out = np.empty((len(eighths), len(self.offset)), np.float32)
        padded = np.zeros(len(eighths), np.float32)
        padded[: len(steps)] = steps
        multiply = _multiply_tiles if avx2.HAS_AVX2 else _multiply
        multiply(eighths, self.tiles, self.scales, padded, self.offset, out)
        return np.ascontiguousarray(out[: len(steps), : self.num_channels])


def in_eighths(multiples: np.ndarray, num_components: int) -> tuple[np.ndarray, np.ndarray]:
    """The first components of float32 `[row, component]`, times 8: int16, both axes padded with zeros for `product`.

    And which rows these are, bool `[row]`: zeros stand for the others, which are not of whole eighths or too large.
    """
    num_rows = len(multiples)
    eighths = np.zeros((num_rows + -num_rows % ROWS, num_components + num_components % 2), np.int16)
    is_small = np.empty(num_rows, np.bool_)
    _fill_eighths(multiples, num_components, eighths, is_small)
    return eighths, is_small


@njit(cache=True, nogil=True)
def _fill_tiles(matrix: np.ndarray, scales: np.ndarray, tiles: np.ndarray) -> None:
    """Channels of next to nothing, whose scale is infinite, become zero."""
    for component in range(matrix.shape[0]):
        for channel in range(matrix.shape[1]):
            whole = np.int16(np.rint(matrix[component, channel] / scales[channel]))
            tiles[channel // CHANNELS, component // 2, channel % CHANNELS, component % 2] = whole


@njit(cache=True, nogil=True)
def _fill_eighths(multiples: np.ndarray, num_components: int, eighths: np.ndarray, is_small: np.ndarray) -> None:
    for row in range(len(multiples)):
        magnitudes, all_whole = 0, True
        for component in range(num_components):
            number = multiples[row, component] / _UNIT
            whole = np.int16(min(max(number, np.float32(-_INT16)), np.float32(_INT16)))
            eighths[row, component] = whole
            magnitudes += abs(int(whole))
            all_whole &= np.float32(whole) == number
        is_small[row] = all_whole and magnitudes <= _MOST
        if not is_small[row]:
            eighths[row] = 0


@njit(cache=True, nogil=True)
def _multiply_tiles(
    eighths: np.ndarray,
    tiles: np.ndarray,
    scales: np.ndarray,
    steps: np.ndarray,
    offset: np.ndarray,
    out: np.ndarray,
) -> None:
    """A tile of the matrix stays in the first cache while all rows pass."""
    for tile in range(len(tiles)):
        for row in range(0, len(out), ROWS):
            multiply_tile(
                eighths, tiles[tile], scales, steps, offset, out,
                eighths.shape[1] // 2, out.shape[1], row, tile * CHANNELS,
            )  # fmt: skip


def _multiply(
    eighths: np.ndarray,
    tiles: np.ndarray,
    scales: np.ndarray,
    steps: np.ndarray,
    offset: np.ndarray,
    out: np.ndarray,
) -> None:
    """As `_multiply_tiles`, anywhere: integers of 32 bits are exact in float64."""
    num_components = eighths.shape[1]
    matrix = tiles[:, : num_components // 2].transpose(1, 3, 0, 2).reshape(num_components, out.shape[1])
    sums = eighths.astype(np.float64) @ matrix.astype(np.float64)
    out[:] = sums.astype(np.float32) * scales * steps[:, None] + offset
