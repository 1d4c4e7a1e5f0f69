"""`int4`: asymmetric 4-bit quantization, keys per channel and values per token, in groups of 64.

The control that other lossy codecs are measured against: `int8`'s axes (KIVI, arXiv 2402.02750, section
3.2) with 16 levels, in groups along the shared axis and without KIVI's full-precision window. For x in
the [low, high] of its group, code = round((x - low) / scale) and x' = low + scale * code, with low
rounded down to 8 significant bits and scale = (high - low) / 15 rounded up to them.
Bound: |x - x'| <= scale / 2, plus the rounding of float32 arithmetic and of the spec's own dtype.
Cost: 4 bits per element and 32 per group.

Sections per layer, `k` and `v` alike. Groups run along the tokens of a channel for keys, along the
channels of a token for values: `[kv_head, channel or token, group, member]`. There are 64 members, or
all where there are fewer; a last group that is not full repeats its last member. `codes` (U8): two to
the byte, the first in the low nibble, an odd last one with 0. `low` and `scale` (U16): per group the
upper half of a float32, `low` with its sign turned.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from codec.codable import codable, write
from codec.codec import LayerCodec, ReadSection
from codec.upper_half import floats, rounded_up, step_sizes

_LEVELS = 16
_GROUP = 64


class Int4(LayerCodec):
    """4-bit keys per channel and values per token; no parameters."""

    id: ClassVar[str] = "int4"
    lossless: ClassVar[bool] = False

    def encode_layer(self, layer: int, keys: torch.Tensor, values: torch.Tensor, start: int) -> dict[str, np.ndarray]:
        return {**_quantize("k", keys.transpose(1, 2)), **_quantize("v", values)}

    def decode_layer(
        self, layer: int, read: ReadSection, keys: torch.Tensor, values: torch.Tensor, start: int, to: int
    ) -> None:
        _dequantize("k", read, keys.transpose(1, 2))
        _dequantize("v", read, values)


def _quantize(name: str, tensor: torch.Tensor) -> dict[str, np.ndarray]:
    x = codable(Int4.id, tensor)  # groups run along the last axis
    num_groups, members = _groups(x.shape[-1])
    missing = num_groups * members - x.shape[-1]
    x = np.pad(x, ((0, 0), (0, 0), (0, missing)), mode="edge").reshape(*x.shape[:2], num_groups, members)
    minus_low = rounded_up(-x.min(axis=-1))
    above_low = x + floats(minus_low)[..., None]
    scale = rounded_up(above_low.max(axis=-1) / np.float32(_LEVELS - 1))
    sizes = step_sizes(scale)[..., None]
    codes = np.minimum(np.rint(above_low / np.where(sizes > 0, sizes, 1)), _LEVELS - 1).astype(np.uint8).ravel()
    pairs = np.pad(codes, (0, codes.size % 2)).reshape(-1, 2)
    return {f"{name}.codes": pairs[:, 0] | pairs[:, 1] << 4, f"{name}.low": minus_low, f"{name}.scale": scale}


def _dequantize(name: str, read: ReadSection, out: torch.Tensor) -> None:
    num_groups, members = _groups(out.shape[-1])
    groups = (*out.shape[:2], num_groups)
    num_codes = out.shape[0] * out.shape[1] * num_groups * members
    pairs = read(f"{name}.codes", np.uint8, (-(-num_codes // 2),))
    codes = np.stack([pairs & 15, pairs >> 4], axis=1).ravel()[:num_codes].reshape(*groups, members)
    scale, minus_low = (read(f"{name}.{part}", np.uint16, groups) for part in ("scale", "low"))
    with np.errstate(over="ignore"):  # the steps of a forged frame may be anything finite
        x = codes * step_sizes(scale)[..., None] - floats(minus_low)[..., None]
    write(torch.from_numpy(x.reshape(*out.shape[:2], -1)[..., : out.shape[-1]]), out)


def _groups(num_members: int) -> tuple[int, int]:
    """How many groups, and of how many members."""
    members = min(num_members, _GROUP)
    return -(-num_members // members), members
