"""Beside: what nobody waits for, done in a thread of its own that leaves the cores to the engine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from connectors.niceness import go_last

_log = logging.getLogger(__name__)
_MOST_TASKS = 8  # waiting or under way


class Beside:
    """One task after the other, a few of them waiting: what comes on top is declined, so that nothing piles up."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name, initializer=go_last)
        self._tasks, self._changed = 0, threading.Condition()

    @property
    def free(self) -> bool:
        return self._tasks == 0

    def submit(self, task: Callable[[], object]) -> bool:
        """Returns at once; False when it was declined. What the task raises is logged."""
        with self._changed:
            if self._tasks == _MOST_TASKS:
                return False
            self._tasks += 1
        self._thread.submit(self._run, task)
        return True

    def _run(self, task: Callable[[], object]) -> None:
        try:
            task()
        except Exception:  # whatever it is, nobody waits for it
            _log.exception("a task beside the engine failed")
        with self._changed:
            self._tasks -= 1
            self._changed.notify_all()

    def wait(self) -> None:
        """Until there is nothing to do."""
        with self._changed:
            self._changed.wait_for(lambda: self._tasks == 0)

    def close(self) -> None:
        """Ends what is under way, and leaves out what waits."""
        self._thread.shutdown(cancel_futures=True)
