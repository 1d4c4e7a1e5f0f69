"""Beside: what nobody waits for, done in a thread of its own that leaves the cores to the engine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from connectors.niceness import go_last

_log = logging.getLogger(__name__)


class Beside:
    """One task at a time: what comes while one is under way is declined, so that nothing piles up."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name, initializer=go_last)
        self._under_way: Future[None] | None = None

    @property
    def free(self) -> bool:
        return self._under_way is None or self._under_way.done()

    def submit(self, task: Callable[[], object]) -> bool:
        """Returns at once; False when it was declined. What the task raises is logged."""
        if not self.free:
            return False
        self._under_way = self._thread.submit(self._run, task)
        return True

    def _run(self, task: Callable[[], object]) -> None:
        try:
            task()
        except Exception:  # whatever it is, nobody waits for it
            _log.exception("a task beside the engine failed")

    def wait(self) -> None:
        """Until nothing is under way."""
        if self._under_way is not None:
            self._under_way.result()

    def close(self) -> None:
        """Waits for what is under way."""
        self._thread.shutdown()
