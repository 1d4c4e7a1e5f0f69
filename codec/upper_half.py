"""float32 numbers kept as their upper 16 bits (a bfloat16), rounded towards plus infinity."""

from __future__ import annotations

import numpy as np

from codec.errors import CorruptFrame

_SIGN, _EXPONENT = 0x8000, 0x7F80


def rounded_up(x: np.ndarray) -> np.ndarray:
    """Upper halves, little-endian uint16, of the smallest such numbers that are at least `x` (finite float32)."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    up = ((bits & 0xFFFF) > 0) & (x > 0)
    upper: np.ndarray = ((bits >> 16) + up).astype("<u2")
    return upper


def floats(upper: np.ndarray) -> np.ndarray:
    """The float32 numbers of upper halves, same shape. Raises CorruptFrame when one is infinite or NaN."""
    if np.any(upper & _EXPONENT == _EXPONENT):
        raise CorruptFrame("a step or an offset is not finite")
    numbers: np.ndarray = (upper.astype(np.uint32) << 16).view(np.float32)
    return numbers


def step_sizes(upper: np.ndarray) -> np.ndarray:
    """As `floats`, for numbers that are at least 0. Raises CorruptFrame when one carries a sign."""
    if np.any(upper & _SIGN):
        raise CorruptFrame("a step is negative")
    return floats(upper)
