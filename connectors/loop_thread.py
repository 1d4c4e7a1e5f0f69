"""LoopThread: an event loop in a thread of its own, for callers that wait."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, ParamSpec, TypeVar

from kvstore import TierUnavailable

P = ParamSpec("P")
T = TypeVar("T")


class LoopThread:
    """Begins when it is first used. Safe in threads, and of no use in a forked child."""

    def __init__(self, name: str) -> None:
        """`name` is for errors."""
        self._name, self._pid = name, os.getpid()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def require_usable(self) -> None:
        """Raises TierUnavailable in a forked child, where nothing runs and locks may be held for good."""
        if os.getpid() != self._pid:
            raise TierUnavailable(f"{self._name} was opened before a fork: open the store again in the child")

    def begin(self, call: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Has a call run there. Raises TierUnavailable when this is closed, or another process's."""
        self.require_usable()
        with self._lock:
            if self._closed:
                raise TierUnavailable(f"{self._name} is closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="kvstore-loop", daemon=True)
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(call(*args, **kwargs), self._loop)

    def result(self, begun: Future[T], timeout_s: float | None = None) -> T:
        """Of what was begun. Raises TierUnavailable when it was ended before it was done; so it is when time is up."""
        try:
            return begun.result(timeout_s)
        except TimeoutError as error:
            begun.cancel()
            raise TierUnavailable(f"{self._name} did not answer in time") from error
        except CancelledError as error:
            raise TierUnavailable(f"{self._name} was closed while it was asked") from error
        except BaseException:
            begun.cancel()
            raise

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Ends what is under way, then does `last`. Safe to repeat."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            loop, thread, self._closed = self._loop, self._thread, True
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(_ended(last), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _ended(last: Callable[[], Coroutine[Any, Any, None]]) -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await last()
