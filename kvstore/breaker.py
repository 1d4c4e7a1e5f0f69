"""Breaker: stops asking a place that keeps failing, and lets one call at a time find out whether it is back."""

from __future__ import annotations

import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable

_MOST_ANSWERS = 64  # that a share of slow ones is looked for among


class Breaker:
    """Opens after `failures` failed calls within `window_s`, and when `least_slow` of the others in it, and half of
    them, took `slow_s` or longer. Safe in threads.

    While it is open nobody may call for about `pause_s`; then exactly one call may, however many ask. When
    that one succeeds the breaker closes; when it fails the pause doubles, up to `longest_pause_s`. One that
    does not come back within that is given up, and another may.
    """

    def __init__(
        self,
        failures: int = 3,
        window_s: float = 10.0,
        pause_s: float = 1.0,
        longest_pause_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = lambda: random.uniform(0.8, 1.2),
        slow_s: float = math.inf,
        least_slow: int = 3,
    ) -> None:
        """`jitter` is by what each pause is multiplied, so that many processes do not return at once."""
        self._failures, self._window_s = failures, window_s
        self._slow_s, self._least_slow = slow_s, least_slow
        self._first_pause_s, self._longest_pause_s = pause_s, longest_pause_s
        self._clock, self._jitter = clock, jitter
        self._lock = threading.Lock()
        self._failed_at_s: deque[float] = deque(maxlen=failures)
        self._answers: deque[tuple[float, bool]] = deque(maxlen=_MOST_ANSWERS)
        """When the last calls ended that did not fail, and whether they were slow."""
        self._pause_s = pause_s
        self._reopens_at_s: float | None = None  # None: closed
        self._era = 0  # of the calls whose outcome counts: those before an opening say nothing about what came after

    @property
    def is_open(self) -> bool:
        """Whether calls are held off: all, or all but the one that finds out."""
        return self._reopens_at_s is not None

    def admit(self) -> int | None:
        """A ticket for one call, to be handed to `report`; None: do not call."""
        with self._lock:
            if self._reopens_at_s is not None:
                if self._clock() < self._reopens_at_s:
                    return None
                self._wait(self._longest_pause_s)
            return self._era

    def report(self, ticket: int, succeeded: bool, took_s: float = 0.0) -> bool:
        """What became of an admitted call, and how long one that succeeded took. True when it opened the breaker."""
        with self._lock:
            if ticket != self._era:
                return False
            if self._reopens_at_s is not None:
                self._found_out(succeeded)
                return False
            lasts = self._drags(took_s) if succeeded else self._lasts()
            if lasts:
                self._wait(self._pause_s)
            return lasts

    def trip(self, ticket: int) -> bool:
        """As `report` of a call that got no answer in all the time there was: one is enough."""
        with self._lock:
            if ticket != self._era:
                return False
            if self._reopens_at_s is not None:
                self._found_out(False)
                return False
            self._wait(self._pause_s)
            return True

    def _found_out(self, succeeded: bool) -> None:
        if succeeded:
            self._failed_at_s.clear()
            self._answers.clear()
            self._reopens_at_s, self._pause_s = None, self._first_pause_s
        else:
            self._pause_s = min(2 * self._pause_s, self._longest_pause_s)
            self._wait(self._pause_s)

    def _drags(self, took_s: float) -> bool:
        """One more answer while closed: whether too many were slow."""
        now_s = self._clock()
        self._answers.append((now_s, took_s >= self._slow_s))
        while now_s - self._answers[0][0] > self._window_s:
            self._answers.popleft()
        num_slow = sum(slow for _, slow in self._answers)
        return num_slow >= self._least_slow and 2 * num_slow >= len(self._answers)

    def _lasts(self) -> bool:
        """One more failure while closed: whether that is too many."""
        now_s = self._clock()
        self._failed_at_s.append(now_s)
        return len(self._failed_at_s) == self._failures and now_s - self._failed_at_s[0] <= self._window_s

    def _wait(self, pause_s: float) -> None:
        """Nobody may call for that long from now on, and what was admitted until now no longer counts."""
        self._era += 1
        self._reopens_at_s = self._clock() + pause_s * self._jitter()
