"""Frames of `lossless` decoded in device memory, to the same bits: all layers' streams at once in Triton, the rest by
torch where the tensors lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from codec.codec import ReadTensor
from codec.errors import CorruptFrame
from codec.float_channels import num_bytes
from codec.float_tables import first_cell
from codec.kv_array import KVArray
from codec.lossless_layout import Layout
from codec.rans_gpu import Stream, decode_streams

_SIGN_BIT, _MAGNITUDE, _COUNT = 15, (1 << 15) - 1, np.dtype("<u4")


@dataclass(frozen=True, eq=False)
class _Coded:
    """A layer whose leading bits are coded: its section `leading`, taken apart.

    `levels`, `shapes` and `negative` int32 `[channel]`, `escapes` int32.
    """

    layer: int
    levels: torch.Tensor
    shapes: torch.Tensor
    negative: torch.Tensor
    escapes: torch.Tensor
    stream: torch.Tensor


def decode(layout: Layout, read: ReadTensor, out: KVArray) -> None:
    """Raises CorruptFrame as `Lossless.decode`."""
    leading = [read(f"{layer}.leading", np.uint8) for layer in range(out.spec.num_layers)]
    coded = _taken_apart(leading, out)
    streams = [Stream(each.stream, out.num_tokens, each.shapes[None]) for each in coded]
    symbols = decode_streams(streams, layout.tables)
    for each, of_layer in zip(coded, symbols, strict=True):
        _write(_words(layout, each, of_layer, read, out), each.layer, out)
    for layer in (layer for layer, section in enumerate(leading) if not len(section)):
        shape = out.num_tokens, _num_channels(out, layer) * out.keys[layer].element_size()
        _write(read(f"{layer}.low", np.uint8, shape).clone().view(out.keys[layer].dtype), layer, out)


def _num_channels(out: KVArray, layer: int) -> int:
    return sum(part.shape[0] * part.shape[2] for part in (out.keys[layer], out.values[layer]))


def _taken_apart(leading: Sequence[torch.Tensor], out: KVArray) -> list[_Coded]:
    """The layers of which there is something."""
    coded = [layer for layer, section in enumerate(leading) if len(section)]
    starts = [_COUNT.itemsize + num_bytes(_num_channels(out, layer)) for layer in coded]
    if any(len(leading[layer]) < start for layer, start in zip(coded, starts, strict=True)):
        raise CorruptFrame("a layer has too few bytes for what its channels are coded under")
    if not coded:
        return []
    heads = torch.stack([leading[layer][: _COUNT.itemsize] for layer in coded]).cpu().numpy().view(_COUNT)[:, 0]
    return [
        _layer(layer, leading[layer], start, start + 2 * count, _num_channels(out, layer))
        for layer, start, count in zip(coded, starts, heads.tolist(), strict=True)
    ]


def _layer(layer: int, leading: torch.Tensor, escapes_start: int, stream_start: int, num_channels: int) -> _Coded:
    packed = leading[_COUNT.itemsize : escapes_start].int()
    nibbles = packed[2 + num_channels :]
    both = torch.cat([nibbles & 15, nibbles >> 4])[:num_channels]
    levels = packed[0] + 256 * packed[1] + packed[2 : 2 + num_channels]
    if stream_start > len(leading):
        raise CorruptFrame("a layer's escapes are longer than all of it")
    escapes = leading[escapes_start:stream_start]
    return _Coded(layer, levels, both & 7, both >> 3, _unsigned(escapes.clone()), leading[stream_start:])


def _unsigned(words: torch.Tensor) -> torch.Tensor:
    """Int32 of words of 16 bits."""
    return words.view(torch.int16).int() & 0xFFFF


def _words(layout: Layout, coded: _Coded, symbols: torch.Tensor, read: ReadTensor, out: KVArray) -> torch.Tensor:
    """The layer's numbers `[token, channel]` of its symbols, in their dtype."""
    shape, dtype = tuple(symbols.shape), out.keys[coded.layer].dtype
    low = read(f"{coded.layer}.low", np.uint8, layout.low_shape(*shape)).int()
    if layout.low_bits == 4:
        low = torch.cat([low & 15, low >> 4], dim=1)[:, : shape[1]]
    wide = symbols.int()
    origins = (coded.levels + first_cell(layout.cells_per_octave)) * int(layout.unit)
    magnitudes = (origins + (wide >> 1) * int(layout.unit)) & _MAGNITUDE
    heads = magnitudes | (((coded.negative ^ wide) & 1) << _SIGN_BIT) | low
    is_escape = symbols == int(layout.escape)
    if int(is_escape.sum()) != len(coded.escapes):
        raise CorruptFrame("more or fewer symbols are escapes than are stored")
    heads[is_escape] = coded.escapes
    if dtype.itemsize == 2:
        return heads.short().view(dtype)
    lower = read(f"{coded.layer}.lower", np.uint16, shape)
    return (heads.short().int() * (1 << 16) | _unsigned(lower)).view(dtype)


def _write(words: torch.Tensor, layer: int, out: KVArray) -> None:
    begin = 0
    for room in (out.keys[layer], out.values[layer]):
        heads, num_tokens, dim = room.shape
        part = words[:, begin : begin + heads * dim].reshape(num_tokens, heads, dim)
        room.copy_(part.transpose(0, 1))
        begin += heads * dim
