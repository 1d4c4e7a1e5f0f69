"""`lossless`: byte planes and zstd. Bit-exact, for every float the spec allows.

A trained model's keys and values are close to Gaussian per channel: their exponents take a few values
(2.5-3 bits of entropy in 8), their mantissas are noise. So each number is split: the plane of the top
bytes (sign and the exponent's upper bits) goes through zstd, whose Huffman stage does the work, and
the rest is stored as it is. That leaves about 11 of 16 bits under bfloat16 and 27 of 32 under float32.
Rotating the sign out of the top byte was measured and gains nothing: the exponent's last bit is noise too.

Sections per layer: `k.high` and `v.high` (U8, zstd) are the top bytes of keys and of values. `low` is
the bottom byte (U8) of a 16-bit float or the bottom two (U16) of a 32-bit float, which has `mid` (U8)
between them; these two hold all keys, then all values. Every plane is in the order `[kv_head, token, dim]`.
"""

from __future__ import annotations

import threading
from typing import ClassVar

import numpy as np
import torch
import zstandard

from codec.bits import bits_of, bytes_to_write
from codec.codec import LayerCodec, ReadSection
from codec.errors import CorruptFrame

_ZSTD_LEVEL = 1  # only literals matter here: higher levels find matches that cost more than they save


class Lossless(LayerCodec):
    """Bit-exact byte-plane coding; no parameters."""

    id: ClassVar[str] = "lossless"
    lossless: ClassVar[bool] = True

    def __init__(self) -> None:
        self._thread = threading.local()

    def encode_layer(self, layer: int, keys: torch.Tensor, values: torch.Tensor, start: int) -> dict[str, np.ndarray]:
        keys_bits, values_bits = bits_of(keys), bits_of(values)
        width = keys_bits.itemsize
        sections = {
            f"{name}.high": np.frombuffer(self._zstd()[0].compress(_byte(bits, width - 1).data), np.uint8)
            for name, bits in (("k", keys_bits), ("v", values_bits))
        }
        if width == 4:
            sections["mid"] = np.concatenate([_byte(keys_bits, 2), _byte(values_bits, 2)])
        low_dtype = np.uint8 if width == 2 else np.uint16
        sections["low"] = np.concatenate([keys_bits.astype(low_dtype).ravel(), values_bits.astype(low_dtype).ravel()])
        return sections

    def decode_layer(
        self, layer: int, read: ReadSection, keys: torch.Tensor, values: torch.Tensor, start: int, to: int
    ) -> None:
        width, num_elements = keys.element_size(), (keys.numel() + values.numel(),)
        low = read("low", np.uint8 if width == 2 else np.uint16, num_elements)
        mid = read("mid", np.uint8, num_elements) if width == 4 else None
        start = 0
        for name, out in (("k", keys), ("v", values)):
            shape, part = tuple(out.shape), slice(start, start + out.numel())
            start = part.stop
            with bytes_to_write(out) as planes:
                planes[..., -1] = self._decompress(read(f"{name}.high", np.uint8), out.numel()).reshape(shape)
                if mid is not None:
                    planes[..., 2] = mid[part].reshape(shape)
                planes.view(low.dtype)[..., 0] = low[part].reshape(shape)

    def _decompress(self, compressed: np.ndarray, num_bytes: int) -> np.ndarray:
        try:
            if zstandard.get_frame_parameters(compressed.data).content_size != num_bytes:
                raise CorruptFrame("a compressed plane states another length than its layer has")
            plane = np.frombuffer(self._zstd()[1].decompress(compressed.data), np.uint8)
        except zstandard.ZstdError as error:
            raise CorruptFrame(f"a compressed plane does not decompress: {error}") from error
        if plane.size != num_bytes:
            raise CorruptFrame(f"a compressed plane holds {plane.size} bytes, expected {num_bytes}")
        return plane

    def _zstd(self) -> tuple[zstandard.ZstdCompressor, zstandard.ZstdDecompressor]:
        """zstd contexts are not thread-safe: one pair per thread."""
        if not hasattr(self._thread, "pair"):
            compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=False)
            self._thread.pair = compressor, zstandard.ZstdDecompressor()
        pair: tuple[zstandard.ZstdCompressor, zstandard.ZstdDecompressor] = self._thread.pair
        return pair


def _byte(bits: np.ndarray, index: int) -> np.ndarray:
    """Byte `index`, counted from the lowest, of every element, flat."""
    return (bits >> (8 * index)).astype(np.uint8).ravel()
