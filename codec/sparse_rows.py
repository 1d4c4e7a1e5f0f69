"""A matrix that is mostly zero, times one that is not: only rows that something multiplies are read.

Compiled by numba on first use. It trusts its arguments.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, fastmath={"contract", "nsz"})
def add_product(z: np.ndarray, columns: np.ndarray, matrix: np.ndarray, out: np.ndarray) -> None:
    """Adds `z` float32 `[row, column]` times the rows `columns` (int64) of `matrix` float32 `[row, channel]` to `out`.

    Four rows of the matrix at a time: so `out` is read and written a quarter as often.
    """
    channels = matrix.shape[1]
    kept = np.empty(columns.size, np.int64)
    for row in range(z.shape[0]):
        count = 0
        for column in range(columns.size):
            kept[count] = column
            count += z[row, column] != 0
        done = 0
        while done + 4 <= count:
            i, j, k, m = kept[done], kept[done + 1], kept[done + 2], kept[done + 3]
            a, b, c, d = z[row, i], z[row, j], z[row, k], z[row, m]
            i, j, k, m = columns[i], columns[j], columns[k], columns[m]
            for channel in range(channels):
                out[row, channel] += (
                    a * matrix[i, channel] + b * matrix[j, channel] + c * matrix[k, channel] + d * matrix[m, channel]
                )
            done += 4
        while done < count:
            a, i = z[row, kept[done]], columns[kept[done]]
            for channel in range(channels):
                out[row, channel] += a * matrix[i, channel]
            done += 1
