"""What a lossy codec can code: finite numbers, with room to subtract one from another in float32."""

from __future__ import annotations

import numpy as np

LARGEST = 1e38


def require_codable(codec_id: str, x: np.ndarray) -> None:
    """Raises ValueError, naming the way out, when `x` holds NaN or numbers beyond `LARGEST`."""
    if not (x.min() >= -LARGEST and x.max() <= LARGEST):  # false for NaN too
        raise ValueError(f"{codec_id} cannot code keys and values that are NaN or beyond {LARGEST:g}; use lossless")
