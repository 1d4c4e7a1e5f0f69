"""Latencies: how long the last answers took."""

from __future__ import annotations

import math
from collections import deque

_REMEMBERED, _LEAST = 256, 20


class Latencies:
    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)

    def note(self, seconds: float) -> None:
        self._seconds.append(seconds)

    def at(self, share: float) -> float:
        """Seconds within which that share of the last answers came; endless before there were enough of them."""
        if len(self._seconds) < _LEAST:
            return math.inf
        return sorted(self._seconds)[math.ceil(share * len(self._seconds)) - 1]
