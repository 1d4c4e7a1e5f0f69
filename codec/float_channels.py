"""What `lossless` knows of a channel before it codes it: its level, the table for its shape, its mean's sign.

In bytes: u16 little-endian, the lowest level; a byte per channel, its level less the lowest; then nibbles, two to
a byte, the shape in bits 0-2 and in bit 3 whether the mean is negative. A byte's low nibble belongs to one of the
first half of the channels, rounded up, its high nibble to the one that stands as far behind that half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codec.float_tables import shapes_of

_HIGHEST = 255  # of a level above the lowest


@dataclass(frozen=True)
class FloatChannels:
    """`levels` uint16, `shapes` uint8, `negative` uint8 (0 or 1), `[channel]` each."""

    levels: np.ndarray
    shapes: np.ndarray
    negative: np.ndarray

    @classmethod
    def fitted(cls, means: np.ndarray, mean_squares: np.ndarray, scale: float, shift: int) -> FloatChannels:
        """What codes channels of these moments, float32, about shortest. No choice is wrong.

        A level is the cell of the root mean square: bits `shift` and above of the float32 that is `scale` times
        smaller. Channels far below the highest one count as if they were not; moments that are not finite as 0.
        """
        finite = np.isfinite(mean_squares)
        mean_squares = np.where(finite, mean_squares, 0)
        roots = np.sqrt(mean_squares) * np.float32(1 / scale)
        levels = (roots.view(np.uint32) >> shift).astype(np.uint16)
        levels = np.maximum(levels, max(int(levels.max()) - _HIGHEST, 0))
        shares = np.square(np.where(finite, means, 0)) / np.maximum(mean_squares, np.finfo(np.float32).tiny)
        return cls(levels, shapes_of(shares), (means < 0).view(np.uint8))

    def packed(self) -> np.ndarray:
        """The bytes, uint8 `[num_bytes(channels)]`."""
        lowest = np.array([self.levels.min()], "<u2")
        nibbles, half = self.shapes | self.negative << 3, num_pairs(self.levels.size)
        pairs = nibbles[:half].copy()
        pairs[: self.levels.size - half] |= nibbles[half:] << 4
        return np.concatenate([lowest.view(np.uint8), (self.levels - lowest).astype(np.uint8), pairs])


def num_pairs(num_nibbles: int) -> int:
    """Bytes of so many nibbles."""
    return (num_nibbles + 1) // 2


def num_bytes(num_channels: int) -> int:
    """Bytes of so many channels."""
    return 2 + num_channels + num_pairs(num_channels)
