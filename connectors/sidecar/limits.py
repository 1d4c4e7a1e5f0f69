"""Limits: how many requests a caller may make, and how many bytes may be on their way in at once."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from connectors.sidecar.problems import Problem

_MOST_CALLERS = 10_000


class Rates:
    """Token buckets, one for each caller: `per_s` requests a second, twice as many at once. 0: no limit.

    Not locked: the event loop's alone.
    """

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._clock = per_s, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    @property
    def are_limited(self) -> bool:
        return self._per_s > 0

    def spend(self, caller: str) -> None:
        """Raises Problem when the caller has made too many."""
        if not self._per_s:
            return
        most, now_s = 2 * self._per_s, self._clock()
        left, at_s = self._left.pop(caller, (most, now_s))
        left = min(most, left + (now_s - at_s) * self._per_s)
        self._left[caller] = max(left - 1, 0.0) if left >= 1 else left, now_s
        if len(self._left) > _MOST_CALLERS:
            self._left.popitem(last=False)
        if left < 1:
            wait_s = (1 - left) / self._per_s
            detail = f"more than {self._per_s:g} requests a second"
            raise Problem("too-many-requests", detail, {"Retry-After": str(max(1, round(wait_s)))})


class Bodies:
    """Bytes of bodies being received: one may be `most_bytes` long, and all together `all_bytes`."""

    def __init__(self, most_bytes: int, all_bytes: int) -> None:
        self.most_bytes, self._all_bytes = most_bytes, all_bytes
        self._bytes = 0

    @contextmanager
    def room(self, num_bytes: int) -> Iterator[None]:
        """Raises Problem where there is none."""
        if num_bytes > self.most_bytes:
            raise Problem("too-large", f"{num_bytes} bytes; at most {self.most_bytes} are taken")
        if self._bytes and self._bytes + num_bytes > self._all_bytes:
            raise Problem("busy", f"{self._bytes} bytes are being received already", {"Retry-After": "1"})
        self._bytes += num_bytes
        try:
            yield
        finally:
            self._bytes -= num_bytes
