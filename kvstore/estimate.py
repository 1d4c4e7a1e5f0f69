"""Estimate: how long something takes, learnt while it runs."""

from __future__ import annotations

import threading
from collections.abc import Sequence

_SHARE = 0.3  # of its error that each measurement takes away
_TRUSTED = 1.5  # a measurement off by more than this factor is believed as far as the one before it
_FIRST = 3  # measurements before anything is said, the middle one of which is the start
_LEAST_S = 1e-9  # clocks may say 0


class Estimate:
    """Seconds as a sum of terms, each an amount (one call, bytes, tokens) times a rate that is learnt.

    Every measurement changes the rates as little as would take away a share of its error: the normalized
    least-mean-squares rule (Nagumo and Noda, IEEE TAC 1967), on the rates' logarithms to first order, so
    that none turns negative. What a measurement says nothing about stays as it was: many short prompts do
    not make it forget what long ones take. A single outlier moves it by 15 % at most; what lasts is believed
    at the second one. Safe in threads.
    """

    def __init__(self) -> None:
        self._rates: tuple[float, ...] = ()
        self._first: list[tuple[Sequence[float], float]] = []
        self._last_ratio = 1.0  # of what was measured last to what had been expected
        self._lock = threading.Lock()

    @property
    def rates(self) -> tuple[float, ...]:
        """Seconds per unit of each amount; empty while too little was measured."""
        return self._rates

    def observe(self, amounts: Sequence[float], seconds: float) -> None:
        """It took `seconds` for these amounts, all > 0 and as many every time."""
        seconds = max(seconds, _LEAST_S)
        with self._lock:
            if self._rates:
                self._learn(amounts, seconds)
            else:
                self._first.append((amounts, seconds))
                if len(self._first) == _FIRST:
                    self._start()

    def seconds(self, amounts: Sequence[float]) -> float:
        """To expect for these amounts; 0 while too little was measured."""
        return sum(rate * amount for rate, amount in zip(self._rates, amounts, strict=False))

    def _start(self) -> None:
        """Nobody knows yet which term it is: all alike."""
        amounts, seconds = sorted(self._first, key=lambda measured: measured[1])[_FIRST // 2]
        self._rates = tuple(seconds / len(amounts) / amount for amount in amounts)
        for measured in self._first:
            self._learn(*measured)

    def _learn(self, amounts: Sequence[float], seconds: float) -> None:
        expected = self.seconds(amounts)
        ratio, before = seconds / expected, self._last_ratio
        self._last_ratio = ratio
        believed = min(ratio, max(before, _TRUSTED)) if ratio > 1 else max(ratio, min(before, 1 / _TRUSTED))
        parts = [rate * amount / expected for rate, amount in zip(self._rates, amounts, strict=True)]
        change = _SHARE * (believed - 1) / sum(part * part for part in parts)
        self._rates = tuple(rate * (1 + change * part) for rate, part in zip(self._rates, parts, strict=True))
