"""Latencies: how long the last answers took."""

from __future__ import annotations

import math
from collections import deque

_REMEMBERED, _LEAST = 256, 20


class Latencies:
    """Safe in threads."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)

    def note(self, seconds: float) -> None:
        self._seconds.append(seconds)

    def at(self, share: float) -> float:
        """Seconds within which that share of the last answers came; endless before there were enough of them."""
        seconds = sorted(self._seconds.copy())
        return math.inf if len(seconds) < _LEAST else seconds[math.ceil(share * len(seconds)) - 1]

    def median_and_p99(self) -> tuple[float | None, float | None]:
        """In seconds; None before there were enough answers."""
        median_s, p99_s = self.at(0.5), self.at(0.99)
        return (None, None) if math.isinf(p99_s) else (median_s, p99_s)
