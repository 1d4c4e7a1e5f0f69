"""LoadFactor: how loaded the model downstream is, from 0 to 1, as measured here or as told from outside.

    L = clip(max((p95 / target - 1) / span, (queue / target - 1) / span), 0, 1)

of the latencies of the last minute and of the calls in flight, smoothed exponentially over time, and moved only by
steps (hysteresis), so that what depends on it does not flutter. After Category-Aware Semantic Caching (arXiv
2510.26835, its section on adaptive policies), which leaves the constants open: these are ours.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from kvstore.errors import InvalidRequest

_MOST_LATENCIES = 512
_FEWEST_LATENCIES = 8
"""Of fewer a 95th percentile says nothing."""
_LONGEST_TOLD_S = 3600.0


@dataclass(frozen=True)
class LoadTargets:
    """What is no load yet. Full load is `1 + span` times as much."""

    latency_p95_s: float
    calls_in_flight: float
    span: float = 1.0
    """Above 0."""


class LoadFactor:
    """Of one model downstream. Safe in threads; every method takes microseconds but for one in a second."""

    def __init__(
        self,
        targets: LoadTargets,
        window_s: float = 60.0,
        smoothing_s: float = 10.0,
        step: float = 0.05,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`smoothing_s`: after which the smoothed load has gone 63 % of the way to what is measured."""
        self._targets, self._window_s, self._smoothing_s, self._step = targets, window_s, smoothing_s, step
        self._clock, self._lock = clock, threading.Lock()
        self._latencies: deque[tuple[float, float]] = deque(maxlen=_MOST_LATENCIES)  # (when, seconds)
        self._p95_s, self._p95_at_s = 0.0, -math.inf
        self._calls = 0
        self._smooth = self._in_effect = 0.0
        self._updated_at_s = clock()
        self._told, self._told_until_s = 0.0, -math.inf

    def began(self) -> None:
        """A call to the model is in flight; `ended` must follow."""
        with self._lock:
            self._calls += 1

    def ended(self, latency_s: float | None) -> None:
        """That call is over. `latency_s` is None for one that says nothing: it failed or was given up."""
        with self._lock:
            self._calls = max(self._calls - 1, 0)
            if latency_s is not None:
                self._latencies.append((self._clock(), latency_s))

    def tell(self, load: float, for_s: float = 60.0) -> None:
        """From outside: that is the load for so long, whatever is measured here.

        Raises InvalidRequest unless `load` is from 0 to 1 and `for_s` positive and at most an hour.
        """
        if not 0 <= load <= 1:
            raise InvalidRequest(f"a load of {load!r}; allowed is a number from 0, none, to 1, full")
        if not 0 < for_s <= _LONGEST_TOLD_S:
            raise InvalidRequest(f"a load for {for_s!r} s; allowed are more than 0 and at most {_LONGEST_TOLD_S:g}")
        with self._lock:
            self._told, self._told_until_s = float(load), self._clock() + for_s

    @property
    def value(self) -> float:
        """From 0 to 1, now. Asking more often does not change it."""
        with self._lock:
            now_s = self._clock()
            if now_s < self._told_until_s:
                return self._told
            self._smoothen(now_s)
            return self._in_effect

    def _smoothen(self, now_s: float) -> None:
        passed_s = now_s - self._updated_at_s
        if passed_s <= 0:
            return
        self._updated_at_s = now_s
        self._smooth += (1 - math.exp(-passed_s / self._smoothing_s)) * (self._measured(now_s) - self._smooth)
        if abs(self._smooth - self._in_effect) >= self._step:
            self._in_effect = self._smooth
        elif self._smooth < self._step / 2:  # else a rest of it would stay for ever
            self._in_effect = 0.0

    def _measured(self, now_s: float) -> float:
        """Not smoothed."""
        targets = self._targets
        latency = self._p95(now_s) / targets.latency_p95_s - 1
        queue = self._calls / targets.calls_in_flight - 1
        return min(max(latency / targets.span, queue / targets.span, 0.0), 1.0)

    def _p95(self, now_s: float) -> float:
        """In seconds, of the window; counted anew once a second; 0 while there are too few."""
        if now_s - self._p95_at_s >= 1.0:
            while self._latencies and self._latencies[0][0] < now_s - self._window_s:
                self._latencies.popleft()
            latencies = sorted(seconds for _, seconds in self._latencies)
            enough = len(latencies) >= _FEWEST_LATENCIES
            self._p95_s = latencies[math.ceil(0.95 * len(latencies)) - 1] if enough else 0.0
            self._p95_at_s = now_s
        return self._p95_s
