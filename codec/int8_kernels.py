"""Codes times steps plus offsets, in one pass, by numba. Compiled on first use. It trusts its arguments."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def per_channel(codes: np.ndarray, scale: np.ndarray, low: np.ndarray, out: np.ndarray) -> None:
    """Fills float32 `out` from uint8 `codes`, both `[head, token, dim]`, and float32 `[head, 1, dim]`."""
    heads, num_tokens, dim = codes.shape
    for head in range(heads):
        step, offset = scale[head, 0], low[head, 0]
        for token in range(num_tokens):
            coded, room = codes[head, token], out[head, token]
            for i in range(dim):
                room[i] = np.float32(coded[i]) * step[i] + offset[i]


@njit(cache=True, nogil=True)
def per_token(codes: np.ndarray, scale: np.ndarray, low: np.ndarray, out: np.ndarray) -> None:
    """Fills float32 `out` from uint8 `codes`, both `[head, token, dim]`, and float32 `[head, token, 1]`."""
    heads, num_tokens, dim = codes.shape
    for head in range(heads):
        for token in range(num_tokens):
            coded, room = codes[head, token], out[head, token]
            step, offset = scale[head, token, 0], low[head, token, 0]
            for i in range(dim):
                room[i] = np.float32(coded[i]) * step + offset


@njit(cache=True, nogil=True)
def farthest(scale: np.ndarray, low: np.ndarray, steps: int) -> float:
    """The largest magnitude that codes 0 to `steps` can come to; NaN where a step or an offset is senseless."""
    scales, lows, largest = scale.ravel(), low.ravel(), 0.0
    for i in range(scales.size):
        ends = max(abs(lows[i]), abs(scales[i] * np.float32(steps) + lows[i]))
        if not (scales[i] >= 0 and ends >= 0):
            return np.nan
        largest = max(largest, float(ends))
    return largest
