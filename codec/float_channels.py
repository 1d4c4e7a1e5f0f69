"""What `lossless` knows of a channel before it codes it: its level, the table for its shape, its mean's sign.

In bytes: u16 little-endian, the lowest level; a byte per channel, its level less the lowest; then nibbles, two to
a byte, the shape in bits 0-2 and in bit 3 whether the mean is negative. A byte's low nibble belongs to one of the
first half of the channels, rounded up, its high nibble to the one that stands as far behind that half.

A level is the cell of the root mean square. Compiled by numba on first use; arguments are trusted.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from codec.float_tables import SHARES

_HIGHEST = 255  # of a level above the lowest
_TINY = np.finfo(np.float32).tiny


def num_pairs(num_nibbles: int) -> int:
    """Bytes of so many nibbles."""
    return (num_nibbles + 1) // 2


def num_bytes(num_channels: int) -> int:
    """Bytes of so many channels."""
    return 2 + num_channels + num_pairs(num_channels)


@njit(cache=True, nogil=True, error_model="numpy")
def fit(means: np.ndarray, mean_squares: np.ndarray, scale: np.float32, shift: int) -> np.ndarray:
    """The bytes, uint8 `[num_bytes(channels)]`, for channels of these moments, float32. No choice is wrong.

    A cell is what bits `shift` and above say of the float32 that is `scale` times smaller than a number. Channels
    far below the highest one count as if they were not; moments that are not finite as 0.
    """
    num_channels = means.size
    half = (num_channels + 1) // 2
    roots = np.empty(num_channels, np.float32)
    packed = np.zeros(2 + num_channels + half, np.uint8)
    for channel in range(num_channels):
        mean, square = means[channel], mean_squares[channel]
        if not np.isfinite(square):
            mean = square = np.float32(0)
        roots[channel] = np.sqrt(square) / scale
        share, nibble = mean * mean / max(square, _TINY), 8 * (mean < 0)
        for bound in SHARES:
            nibble += share > bound
        packed[2 + num_channels + channel % half] |= nibble << 4 * (channel >= half)
    levels = (roots.view(np.uint32) >> np.uint32(shift)).astype(np.int64)
    lowest = max(levels.min(), levels.max() - _HIGHEST)
    packed[0], packed[1] = lowest & 255, lowest >> 8
    for channel in range(num_channels):
        packed[2 + channel] = max(levels[channel] - lowest, 0)
    return packed


@njit(cache=True, nogil=True, error_model="numpy")
def unpack(packed: np.ndarray, num_channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levels uint16, shapes uint32 and whether means are negative, uint16 0 or 1, of bytes that may be anything."""
    levels, shapes, negative = (
        np.empty(num_channels, np.uint16),
        np.empty(num_channels, np.uint32),
        np.empty(num_channels, np.uint16),
    )
    lowest = np.int64(packed[0]) + 256 * np.int64(packed[1])
    half = (num_channels + 1) // 2
    for channel in range(num_channels):
        nibble = np.int64(packed[2 + num_channels + channel % half]) >> 4 * (channel >= half)
        levels[channel] = lowest + np.int64(packed[2 + channel])
        shapes[channel], negative[channel] = nibble & 7, nibble >> 3 & 1
    return levels, shapes, negative
