"""Background: jobs that nobody waits for, on a few threads; what there is no room for is dropped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

_log = logging.getLogger(__name__)


class Background:
    """Runs jobs later. Safe in threads; never blocks, but for `close`."""

    def __init__(self, threads: int = 2, most: int = 256, begin: Callable[[], object] = lambda: None) -> None:
        """`most`: jobs that may wait or run at once. Every thread begins with `begin`."""
        self._threads, self._most, self._begin = threads, most, begin
        self._pending = 0
        self._idle = threading.Condition()
        self._pool: ThreadPoolExecutor | None = None  # started by the first job
        self._closed = False

    def submit(self, job: Callable[[], object]) -> bool:
        """False when it was dropped. What a job raises is logged."""
        with self._idle:
            if self._closed or self._pending >= self._most:
                return False
            self._pool = self._pool or ThreadPoolExecutor(self._threads, "kvstore-background", self._begin)
            self._pending += 1
            self._pool.submit(job).add_done_callback(self._finished)
            return True

    @property
    def idle(self) -> bool:
        """Whether nothing waits or runs."""
        return not self._pending

    def flush(self, timeout_s: float | None = None) -> bool:
        """Waits until nothing is pending; False when that took longer than `timeout_s`."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._pending, timeout_s)

    def close(self) -> None:
        """Drops what has not begun and waits for what has. Safe to repeat."""
        with self._idle:
            self._closed = True
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _finished(self, job: Future[object]) -> None:
        if not job.cancelled() and (error := job.exception()) is not None:
            _log.error("a job in the background failed", exc_info=error)
        with self._idle:
            self._pending -= 1
            self._idle.notify_all()
