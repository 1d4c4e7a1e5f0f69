"""A matrix that is mostly zero towards its end, times one that is not: only rows that something multiplies are read.

Compiled by numba on first use. It trusts its arguments.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_BLOCK, _DENSE = 16, 0.125  # columns looked at together; the share of numbers that are not zero


@njit(cache=True, nogil=True)
def num_dense(z: np.ndarray) -> int:
    """How many of the first columns of `z` are worth a dense product: up to the first few that are mostly zero."""
    counts = np.zeros(z.shape[1], np.int32)
    for row in range(z.shape[0]):
        for column in range(z.shape[1]):
            counts[column] += np.int32(z[row, column] != 0)
    for first in range(0, counts.size, _BLOCK):
        if counts[first : first + _BLOCK].sum() < _DENSE * _BLOCK * z.shape[0]:
            return first
    return counts.size


@njit(cache=True, nogil=True, fastmath={"contract", "nsz"})
def add_product(
    z: np.ndarray, first: np.ndarray, rows: np.ndarray, matrix: np.ndarray, scales: np.ndarray, out: np.ndarray
) -> None:
    """Adds to `out`, row by row, the columns from `first` on of float32 `z` `[row, column]`, times the row's scale,
    times `matrix[rows]` (one for each column of `z`, int64; float32 `[row, channel]`).

    Four rows of the matrix at a time: so `out` is read and written a quarter as often.
    """
    kept = np.empty(z.shape[1], np.int64)
    for row in range(z.shape[0]):
        count, scale = 0, scales[row]
        for column in range(first[row], z.shape[1]):
            kept[count] = column
            count += z[row, column] != 0
        done = 0
        while done + 4 <= count:
            i, j, k, m = kept[done], kept[done + 1], kept[done + 2], kept[done + 3]
            a, b, c, d = scale * z[row, i], scale * z[row, j], scale * z[row, k], scale * z[row, m]
            i, j, k, m = rows[i], rows[j], rows[k], rows[m]
            for channel in range(matrix.shape[1]):
                out[row, channel] += (
                    a * matrix[i, channel] + b * matrix[j, channel] + c * matrix[k, channel] + d * matrix[m, channel]
                )
            done += 4
        while done < count:
            a, i = scale * z[row, kept[done]], rows[kept[done]]
            for channel in range(matrix.shape[1]):
                out[row, channel] += a * matrix[i, channel]
            done += 1
