"""How `lossless` divides a float's upper 16 bits, its head: the sign, the cell, and what is below that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from codec import float_channels, lossless_kernels
from codec.float_channels import num_pairs
from codec.float_tables import float_tables
from codec.rans_tables import Tables


@dataclass(frozen=True)
class Layout:
    """How a dtype's heads are divided: `low_bits`, 4 or 8, then the cell, then the sign.

    A head's magnitude times 2^`up`, read as float32, is `scale` times smaller than its number.
    """

    cells_per_octave: int
    low_bits: int
    up: int
    scale: float = 1.0

    @property
    def tables(self) -> Tables:
        return float_tables(self.cells_per_octave)

    @property
    def escape(self) -> np.uint8:
        """The last symbol."""
        return np.uint8(self.tables.num_symbols - 1)

    @property
    def unit(self) -> np.uint16:
        """Heads in a cell."""
        return np.uint16(1 << self.low_bits)

    def fitted(self, heads: np.ndarray) -> np.ndarray:
        """The bytes of the channels under which these heads, `[token, channel]`, are coded about shortest."""
        scale = np.float32(self.scale)
        moments = lossless_kernels.moments(heads, np.uint32(1 << self.up), scale)
        channels: np.ndarray = float_channels.fit(*moments, scale, self.low_bits + self.up)
        return channels

    def low(self, heads: np.ndarray) -> np.ndarray:
        """What heads `[token, channel]` have below their cells."""
        low: np.ndarray = lossless_kernels.take_nibbles(heads) if self.low_bits == 4 else heads.astype(np.uint8)
        return low

    def low_shape(self, num_tokens: int, num_channels: int) -> tuple[int, int]:
        """The shape of that."""
        return num_tokens, num_pairs(num_channels) if self.low_bits == 4 else num_channels


LAYOUTS = {
    torch.bfloat16: Layout(cells_per_octave=8, low_bits=4, up=16),
    torch.float16: Layout(cells_per_octave=4, low_bits=8, up=13, scale=2.0**112),
    torch.float32: Layout(cells_per_octave=8, low_bits=4, up=16),
}
