"""`lossless`: the leading bits of every float entropy-coded, the others as they are. Bit-exact, for any bits.

A trained model's keys and values are close to Gaussian per channel, and channels differ: in scale, and in how
far their mean is from zero. So the channel tells much about a float's sign, exponent and first mantissa bits;
the bits below are noise. The leading bits are symbols of `codec.rans`, each channel under one of eight fixed
tables (`codec.float_tables`) moved to the channel's scale: no profile is needed, and a channel costs 12 bits
a chunk. The low bits are stored: 4 of bfloat16's 16, 8 of float16's 16, 20 of float32's 32.

A head is the upper 16 bits of a float. Its cell is the exponent and the first mantissa bits as one number:
8 cells an octave, 4 under float16. A channel has symbols for 12 octaves of cells, 10 of them below its root
mean square. Anything else, be it zero or NaN, escapes: its head is stored beside the symbols.

Sections per layer, numbers little-endian. Channels are the keys' `[kv_head, dim]`, then the values'.

`leading` (U8), back to back:

* u32, the number of escapes;
* the channels, as `codec.float_channels` packs them;
* u16 per escape, in the order of the symbols: its head;
* to the end, a stream of `codec.rans`, rows of tokens and columns of channels: twice the cell less the
  channel's first one, modulo the cells there are, plus 1 where the sign is not that of the channel's mean; or
  the last symbol, an escape.

`low` (U8) holds what a head has below its cell: bytes `[token, channel]` under float16, otherwise nibbles
`[token, pair]`, paired as those of `codec.float_channels`. `lower` (U16, `[token, channel]`) is the lower half
of float32, and only of that.

A layer that this would make larger is stored: `leading` is then empty, and `low` the bytes of `[token, channel]`.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from codec import float_channels, lossless_kernels, rans
from codec.bits import bits_of, words_to_write
from codec.codec import LayerCodec, ReadSection, ReadTensor
from codec.device_frame import HAS_TRITON
from codec.errors import CorruptFrame
from codec.float_channels import num_bytes
from codec.float_tables import first_cell
from codec.kv_array import KVArray
from codec.lossless_layout import LAYOUTS, Layout

_FEW_SYMBOLS, _FEW_LANES, _LANES = 8192, 8, 32  # a lane costs 2 bytes, and many decode faster


_FAULTS = {
    lossless_kernels.UNEVEN: "the entropy-coded stream does not end where its symbols do",
    lossless_kernels.OTHER_ESCAPES: "more or fewer symbols are escapes than are stored",
}


class Lossless(LayerCodec):
    """Bit-exact coding of leading bits; no parameters."""

    id: ClassVar[str] = "lossless"
    lossless: ClassVar[bool] = True

    def encode_layer(self, layer: int, keys: torch.Tensor, values: torch.Tensor, start: int) -> dict[str, np.ndarray]:
        layout, words = LAYOUTS[keys.dtype], _rows(bits_of(keys), bits_of(values))
        heads, lower = (words, None) if words.itemsize == 2 else lossless_kernels.halves(words)
        channels = layout.fitted(heads)
        levels, shapes, negative = float_channels.unpack(channels, heads.shape[1])
        origins = lossless_kernels.origins_of(levels, negative, first_cell(layout.cells_per_octave), layout.unit)
        symbols = lossless_kernels.split(heads, origins, layout.unit, layout.escape)
        escapes = heads.ravel()[lossless_kernels.escaped(symbols, layout.escape, symbols.size)]
        lanes = _LANES if symbols.size >= _FEW_SYMBOLS else _FEW_LANES
        leading = [
            np.array([escapes.size], "<u4").view(np.uint8),
            channels,
            escapes.view(np.uint8),
            rans.encode(symbols, shapes, layout.tables, lanes),
        ]
        sections = {"leading": np.concatenate(leading), "low": layout.low(heads)}
        if lower is not None:
            sections["lower"] = lower
        if sum(section.nbytes for section in sections.values()) > words.nbytes:
            return {"leading": np.empty(0, np.uint8), "low": words.view(np.uint8)}
        return sections

    def decode_layer(
        self, layer: int, read: ReadSection, keys: torch.Tensor, values: torch.Tensor, start: int, to: int
    ) -> None:
        with words_to_write(keys) as key_words, words_to_write(values) as value_words:
            heads, num_tokens, key_dim = key_words.shape
            num_key_channels, num_channels = heads * key_dim, heads * (key_dim + value_words.shape[2])
            leading = read("leading", np.uint8)
            if leading.size:
                words = _decoded(LAYOUTS[keys.dtype], leading, read, num_tokens, num_channels)
                if keys.element_size() == 4:
                    words = lossless_kernels.whole(words, read("lower", np.uint16, words.shape))
            else:
                words = read("low", np.uint8, (num_tokens, num_channels * keys.element_size())).view(key_words.dtype)
            for out, channels in ((key_words, words[:, :num_key_channels]), (value_words, words[:, num_key_channels:])):
                out[...] = channels.reshape(num_tokens, heads, -1).transpose(1, 0, 2)

    def decode_on_device(self, read: ReadTensor, out: KVArray, start: int, to: int) -> bool:
        if not HAS_TRITON:
            return False
        from codec import lossless_device

        lossless_device.decode(LAYOUTS[out.keys[0].dtype], read, out)
        return True


def _rows(keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Words `[token, channel]` of keys and values `[kv_head, token, dim]`."""
    heads, num_tokens, key_dim = keys.shape
    words = np.empty((num_tokens, heads * (key_dim + values.shape[2])), keys.dtype)
    for given, channels in ((keys, words[:, : heads * key_dim]), (values, words[:, heads * key_dim :])):
        channels.reshape(num_tokens, heads, -1)[...] = given.transpose(1, 0, 2)
    return words


def _decoded(layout: Layout, leading: np.ndarray, read: ReadSection, num_tokens: int, num_channels: int) -> np.ndarray:
    """Heads, uint16 `[token, channel]`. Raises CorruptFrame when `leading` is not what the encoder writes."""
    escapes_start = 4 + num_bytes(num_channels)
    if leading.size < escapes_start:
        raise CorruptFrame(f"{leading.size} bytes are too few for what {num_channels} channels are coded under")
    stream_start = escapes_start + 2 * int.from_bytes(leading[:4].tobytes(), "little")
    lanes = rans.checked_lanes(leading[stream_start:], num_tokens * num_channels)
    low = read("low", np.uint8, layout.low_shape(num_tokens, num_channels))
    heads = np.empty((num_tokens, num_channels), np.uint16)
    found = lossless_kernels.decode(
        leading,
        escapes_start,
        stream_start + rans.HEADER_BYTES,
        lanes,
        layout.tables.slots,
        first_cell(layout.cells_per_octave),
        layout.unit,
        layout.escape,
        low,
        heads,
    )
    if found != lossless_kernels.WHOLE:
        raise CorruptFrame(_FAULTS[found])
    return heads
