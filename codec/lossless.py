"""`lossless`: the leading bits of every float entropy-coded, the others as they are. Bit-exact, for any bits.

A trained model's keys and values are close to Gaussian per channel, and channels differ: in scale, and in how
far their mean is from zero. So the channel tells much about a float's sign, exponent and first mantissa bits;
the bits below are noise. The leading bits are symbols of `codec.rans`, each channel under one of eight fixed
tables (`codec.float_tables`) moved to the channel's scale: no profile is needed, and a channel costs 12 bits
a chunk. The low bits are stored: 4 of bfloat16's 16, 8 of float16's 16, 20 of float32's 32.

A float's cell is its exponent and its first mantissa bits as one number: 8 cells an octave, 4 under float16. A
channel has symbols for 12 octaves of cells, 10 of them below its root mean square. Anything else, be it zero
or NaN, escapes: its leading bits are stored beside the symbols.

Sections per layer, numbers little-endian. Channels are the keys' `[kv_head, dim]`, then the values'.

`leading` (U8), back to back:

* u32, the number of escapes;
* the channels, as `codec.float_channels` packs them;
* u16 per escape, in the order of the symbols: the sign and, below it, the cell;
* to the end, a stream of `codec.rans`, rows of tokens and columns of channels: twice the cell less the
  channel's first one, plus 1 where the sign is not that of the channel's mean; or the last symbol, an escape.

`low` (U8), back to back:

* the lowest bytes, as planes `[byte, token, channel]`, lowest byte first: none under bfloat16, one under float16,
  two under float32;
* `[token, pair]` the 4 bits between those and the cell, paired as the nibbles of `codec.float_channels`; not
  under float16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from codec import lossless_kernels, rans
from codec.bits import bits_of, words_to_write
from codec.codec import Codec, ReadSection
from codec.errors import CorruptFrame
from codec.float_channels import FloatChannels, num_bytes, num_pairs
from codec.float_tables import first_cell, float_tables
from codec.rans_tables import Tables

_FEW_SYMBOLS, _FEW_LANES, _LANES = 8192, 8, 32  # a lane costs 2 bytes, and many decode faster


@dataclass(frozen=True)
class _Layout:
    """How a dtype's bits are divided: the lowest in `low_bytes`, then perhaps a nibble, then the cell, the sign.

    Its words times 2**`up`, read as float32 but for the sign, are `scale` times smaller than its numbers.
    """

    cells_per_octave: int
    low_bytes: int
    has_nibble: bool
    up: int
    scale: float = 1.0

    @property
    def low_bits(self) -> int:
        """Bits below the cell."""
        return 8 * self.low_bytes + 4 * self.has_nibble

    @property
    def tables(self) -> Tables:
        return float_tables(self.cells_per_octave)

    def firsts(self, levels: np.ndarray) -> np.ndarray:
        """The cells of symbol 0, int32 `[channel]`; below zero where a channel is small."""
        return levels.astype(np.int32) + np.int32(first_cell(self.cells_per_octave))

    def parts(self, low: np.ndarray, num_tokens: int, num_channels: int) -> tuple[np.ndarray, np.ndarray]:
        """The planes `[byte, token, channel]` and nibbles `[token, pair]` of a section `low`."""
        planes_end = self.low_bytes * num_tokens * num_channels
        num_nibble_bytes = num_pairs(num_channels) if self.has_nibble else 0
        if low.size != planes_end + num_tokens * num_nibble_bytes:
            raise CorruptFrame(f"{low.size} bytes are not the low bits of {num_tokens * num_channels} numbers")
        planes = low[:planes_end].reshape(self.low_bytes, num_tokens, num_channels)
        return planes, low[planes_end:].reshape(num_tokens, num_nibble_bytes)

    def low_size(self, num_tokens: int, num_channels: int) -> int:
        """Bytes of a section `low`."""
        return num_tokens * (self.low_bytes * num_channels + self.has_nibble * num_pairs(num_channels))


_LAYOUTS = {
    torch.bfloat16: _Layout(cells_per_octave=8, low_bytes=0, has_nibble=True, up=16),
    torch.float16: _Layout(cells_per_octave=4, low_bytes=1, has_nibble=False, up=13, scale=2.0**112),
    torch.float32: _Layout(cells_per_octave=8, low_bytes=2, has_nibble=True, up=0),
}


class Lossless(Codec):
    """Bit-exact coding of leading bits; no parameters."""

    id: ClassVar[str] = "lossless"
    lossless: ClassVar[bool] = True

    def encode_layer(self, layer: int, keys: torch.Tensor, values: torch.Tensor, start: int) -> dict[str, np.ndarray]:
        layout, (heads, num_tokens, key_dim) = _LAYOUTS[keys.dtype], keys.shape
        num_channels, words = heads * (key_dim + values.shape[2]), (bits_of(keys), bits_of(values))
        means, mean_squares = lossless_kernels.moments(*words, layout.up, layout.scale)
        channels = FloatChannels.fitted(means, mean_squares, layout.scale, layout.low_bits + layout.up)
        symbols = np.empty((num_tokens, num_channels), np.uint8)
        escapes, low = np.empty(symbols.size, "<u2"), np.empty(layout.low_size(*symbols.shape), np.uint8)
        num_escapes = lossless_kernels.split(
            *words,
            layout.firsts(channels.levels),
            channels.negative,
            layout.low_bits,
            layout.tables.num_symbols - 1,
            symbols,
            escapes,
            *layout.parts(low, *symbols.shape),
        )
        lanes = _LANES if symbols.size >= _FEW_SYMBOLS else _FEW_LANES
        leading = [
            np.array([num_escapes], "<u4").view(np.uint8),
            channels.packed(),
            escapes[:num_escapes].view(np.uint8),
            rans.encode(symbols, channels.shapes, layout.tables, lanes),
        ]
        return {"leading": np.concatenate(leading), "low": low}

    def decode_layer(
        self, layer: int, read: ReadSection, keys: torch.Tensor, values: torch.Tensor, start: int, to: int
    ) -> None:
        layout, (heads, num_tokens, key_dim) = _LAYOUTS[keys.dtype], keys.shape
        num_channels = heads * (key_dim + values.shape[2])
        leading = _Leading.parsed(read("leading", np.uint8), num_channels)
        symbols = rans.decode(leading.stream, num_tokens, leading.channels.shapes, layout.tables)
        low = layout.parts(read("low", np.uint8), num_tokens, num_channels)
        if np.any(leading.escapes >> (8 * keys.element_size() - layout.low_bits)):
            raise CorruptFrame("an escape has more bits than it may")
        with words_to_write(keys) as key_words, words_to_write(values) as value_words:
            num_escapes = lossless_kernels.join(
                symbols,
                layout.firsts(leading.channels.levels),
                leading.channels.negative,
                layout.low_bits,
                layout.tables.num_symbols - 1,
                leading.escapes,
                *low,
                key_words,
                value_words,
            )
        if num_escapes != leading.escapes.size:
            raise CorruptFrame(f"{num_escapes} symbols are escapes, but {leading.escapes.size} are stored")


@dataclass(frozen=True)
class _Leading:
    """A section `leading`, taken apart."""

    channels: FloatChannels
    escapes: np.ndarray
    stream: np.ndarray

    @classmethod
    def parsed(cls, section: np.ndarray, num_channels: int) -> _Leading:
        channels_end = 4 + num_bytes(num_channels)
        if section.size < channels_end:
            raise CorruptFrame(f"{section.size} bytes are too few for what {num_channels} channels are coded under")
        num_escapes = int(section[:4].view("<u4")[0])
        escapes_end = channels_end + 2 * num_escapes
        if section.size < escapes_end:
            raise CorruptFrame(f"{section.size} bytes are too few for {num_escapes} escapes")
        channels = FloatChannels.unpacked(section[4:channels_end], num_channels)
        return cls(channels, section[channels_end:escapes_end].view("<u2").astype(np.uint16), section[escapes_end:])
