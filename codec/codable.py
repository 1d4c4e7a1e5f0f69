"""What a lossy codec can code, and what it may give back: finite numbers, and finite numbers."""

from __future__ import annotations

import numpy as np
import torch

LARGEST = 1e38  # so that the difference of two is a float32 too


def require_codable(codec_id: str, x: np.ndarray) -> None:
    """Raises ValueError, naming the way out, when `x` holds NaN or numbers beyond `LARGEST`."""
    if not (x.min() >= -LARGEST and x.max() <= LARGEST):  # false for NaN too
        raise ValueError(f"{codec_id} cannot code keys and values that are NaN or beyond {LARGEST:g}; use lossless")


def write(x: np.ndarray, out: torch.Tensor) -> None:
    """Copies `x` (float32) to `out`: what half a step took beyond the dtype's largest number becomes that."""
    largest = torch.finfo(out.dtype).max
    out.copy_(torch.from_numpy(x).clamp(-largest, largest))
