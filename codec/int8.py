"""`int8`: asymmetric 8-bit quantization, keys per channel and values per token.

Keys have channels that are large for every token, values have tokens that are large in every channel,
so the step is shared along the other axis (KIVI, arXiv 2402.02750, section 3.2, at 8 bits instead of 2).
With x in [low, high] and scale = (high - low) / 255, code = round((x - low) / scale) and
x' = low + scale * code. Bound: |x - x'| <= scale / 2, plus the rounding of float32 arithmetic (a few
units in the last place of max(|low|, |high|)), plus the rounding of the spec's own dtype.
Cost: 8 bits per element and two float32 per key channel and per value token.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from codec import int8_kernels
from codec.codable import codable
from codec.codec import LayerCodec, ReadSection, ReadTensor
from codec.errors import CorruptFrame
from codec.kv_array import KVArray

_STEPS = 255
_SENSELESS = "a step or an offset is not what any numbers give"


class Int8(LayerCodec):
    """8-bit keys per channel and values per token; no parameters."""

    id: ClassVar[str] = "int8"
    lossless: ClassVar[bool] = False

    def encode_layer(self, layer: int, keys: torch.Tensor, values: torch.Tensor, start: int) -> dict[str, np.ndarray]:
        return {**_quantize("k", keys, shared_axis=1), **_quantize("v", values, shared_axis=2)}

    def decode_layer(
        self, layer: int, read: ReadSection, keys: torch.Tensor, values: torch.Tensor, start: int, to: int
    ) -> None:
        _dequantize("k", read, keys, shared_axis=1)
        _dequantize("v", read, values, shared_axis=2)

    def decode_on_device(self, read: ReadTensor, out: KVArray, start: int, to: int) -> bool:
        """The same numbers as `decode`."""
        sound = [
            _dequantize_on_device(f"{layer}.{name}", read, room, shared_axis)
            for layer, rooms in enumerate(zip(out.keys, out.values, strict=True))
            for name, room, shared_axis in zip("kv", rooms, (1, 2), strict=True)
        ]
        if not bool(torch.stack(sound).all()):
            raise CorruptFrame(_SENSELESS)
        return True


def _quantize(name: str, tensor: torch.Tensor, shared_axis: int) -> dict[str, np.ndarray]:
    x = codable(Int8.id, tensor)  # [kv_head, token, dim]
    low, high = x.min(axis=shared_axis, keepdims=True), x.max(axis=shared_axis, keepdims=True)
    scale = (high - low) / np.float32(_STEPS)
    codes = np.minimum(np.rint((x - low) / np.where(scale > 0, scale, 1)), _STEPS)  # a subnormal scale is rounded
    return {f"{name}.codes": codes.astype(np.uint8), f"{name}.low": low, f"{name}.scale": scale}


def _dequantize(name: str, read: ReadSection, out: torch.Tensor, shared_axis: int) -> None:
    heads, tokens, dim = out.shape
    steps_shape = (heads, 1, dim) if shared_axis == 1 else (heads, tokens, 1)
    codes = read(f"{name}.codes", np.uint8, (heads, tokens, dim))
    scale, low = (read(f"{name}.{part}", np.float32, steps_shape) for part in ("scale", "low"))
    if not _stays_finite(int8_kernels.farthest(scale, low, _STEPS), out.dtype):
        raise CorruptFrame(_SENSELESS)
    to_room = int8_kernels.per_channel if shared_axis == 1 else int8_kernels.per_token
    if out.dtype == torch.float32 and out.device.type == "cpu":
        to_room(codes, scale, low, out.numpy())
    else:
        x = np.empty(codes.shape, np.float32)
        to_room(codes, scale, low, x)
        out.copy_(torch.from_numpy(x))


def _stays_finite(magnitude: float, dtype: torch.dtype) -> bool:
    """Whether it, which is not negative, is less than half a unit in the last place beyond the dtype's largest."""
    kind = torch.finfo(dtype)
    return magnitude < kind.max * (1 + kind.eps / 2 / (2 - kind.eps))


def _dequantize_on_device(name: str, read: ReadTensor, out: torch.Tensor, shared_axis: int) -> torch.Tensor:
    """Whether all numbers are finite, at either end of the codes: a bool on the device, which is not waited for."""
    heads, tokens, dim = out.shape
    steps_shape = (heads, 1, dim) if shared_axis == 1 else (heads, tokens, 1)
    codes = read(f"{name}.codes", np.uint8, (heads, tokens, dim))
    scale, low = (read(f"{name}.{part}", np.float32, steps_shape) for part in ("scale", "low"))
    out.copy_(codes.float().mul_(scale).add_(low))
    ends = torch.stack([low, scale * _STEPS + low]).to(out.dtype)
    return (scale >= 0).all() & ends.isfinite().all()
