"""Estimate: how long something takes, learnt while it runs."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

_SHARE = 0.3  # of its error that each measurement takes away
_LEAST_S = 1e-9  # clocks may say 0
_MEASURED = 3  # measurements before anything is said; of that many the middle one counts


class Estimate:
    """Seconds as a sum of terms, each an amount (one call, bytes, tokens) times a rate that is learnt.

    Every measurement changes the rates as little as would take away a share of its error: the normalized
    least-mean-squares rule (Nagumo and Noda, IEEE TAC 1967), in the rates' logarithms to first order, so
    that none turns negative. What a measurement says nothing about stays as it was: many short prompts do
    not make it forget what long ones take. Of the last three measurements the middle one is learnt from:
    a single outlier changes nothing, and what lasts is seen at the second one. Safe in threads.
    """

    def __init__(self) -> None:
        self._rates: tuple[float, ...] = ()
        self._last: deque[tuple[Sequence[float], float]] = deque(maxlen=_MEASURED)
        self._lock = threading.Lock()

    @property
    def rates(self) -> tuple[float, ...]:
        """Seconds per unit of each amount; empty while too little was measured."""
        return self._rates

    def observe(self, amounts: Sequence[float], seconds: float) -> None:
        """It took `seconds` for these amounts, all > 0 and as many every time."""
        with self._lock:
            self._last.append((amounts, max(seconds, _LEAST_S)))
            if len(self._last) == _MEASURED:
                if not self._rates:  # nobody knows yet which term it is: all alike
                    total = self._middle(lambda amounts: 1.0)[1]
                    self._rates = tuple(total / len(amounts) / amount for amount in amounts)
                self._learn(*self._middle(self.seconds))

    def seconds(self, amounts: Sequence[float]) -> float:
        """To expect for these amounts; 0 while too little was measured."""
        return sum(rate * amount for rate, amount in zip(self._rates, amounts, strict=False))

    def _middle(self, expected: Callable[[Sequence[float]], float]) -> tuple[Sequence[float], float]:
        """Of the last measurements the one that took neither the most nor the least of what was expected."""
        return sorted(self._last, key=lambda measured: measured[1] / expected(measured[0]))[_MEASURED // 2]

    def _learn(self, amounts: Sequence[float], seconds: float) -> None:
        expected = self.seconds(amounts)
        parts = [rate * amount / expected for rate, amount in zip(self._rates, amounts, strict=True)]
        change = _SHARE * (seconds / expected - 1) / sum(part * part for part in parts)
        self._rates = tuple(rate * (1 + change * part) for rate, part in zip(self._rates, parts, strict=True))
