"""What a lossy codec can code, and what it may give back: finite numbers, and finite numbers."""

from __future__ import annotations

import math

import numpy as np
import torch

from codec.errors import CorruptFrame

_FAR = 0.125
LARGEST = 1e38  # so that the difference of two is a float32 too


def require_codable(codec_id: str, x: np.ndarray) -> None:
    """Raises ValueError, naming the way out, when `x` holds NaN or numbers beyond `LARGEST`."""
    if not (x.min() >= -LARGEST and x.max() <= LARGEST):  # false for NaN too
        raise ValueError(f"{codec_id} cannot code keys and values that are NaN or beyond {LARGEST:g}; use lossless")


def codable(codec_id: str, tensor: torch.Tensor) -> np.ndarray:
    """The tensor as float32, same shape, checked by `require_codable`."""
    x: np.ndarray = tensor.detach().float().cpu().numpy()
    require_codable(codec_id, x)
    return x


def rows_of(codec_id: str, tensor: torch.Tensor) -> np.ndarray:
    """As `codable`, `[token, channel]` of `[kv_head, token, dim]`."""
    return codable(codec_id, tensor.transpose(0, 1).flatten(1))


def write(x: torch.Tensor, out: torch.Tensor) -> None:
    """Copies `x` (float32) to `out`: what half a step took beyond the dtype's largest number becomes that.

    Raises CorruptFrame when `x` holds NaN, which only a frame does that no encoder wrote.
    """
    largest = torch.finfo(out.dtype).max
    low, high = (float(end) for end in x.aminmax())
    if math.isnan(low):
        raise CorruptFrame("the frame decodes to numbers that are none")
    out.copy_(x if -largest <= low and high <= largest else x.clamp(-largest, largest))


def far_within(x: np.ndarray | torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether `x` is all numbers, and so small that a turn, which at most scales by 2, keeps them in `dtype`."""
    largest = _FAR * torch.finfo(dtype).max
    return bool(-largest <= x.min() and x.max() <= largest)  # false for NaN
