"""WaitingCalls: calls of a library that waits for as long as it likes, for an event loop that does not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from kvstore import TierUnavailable

P = ParamSpec("P")
T = TypeVar("T")


class WaitingCalls:
    """Runs calls on a few threads, which end with the process whatever they wait for.

    What a call that was given up still does, it does to itself: it must not write to what its caller has.
    """

    def __init__(self, name: str, threads: int, timeout_s: float) -> None:
        """`name` is for errors."""
        self._name, self._timeout_s = name, timeout_s
        self._jobs = SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]()
        self._threads = [threading.Thread(target=self._work, name=name, daemon=True) for _ in range(threads)]
        self._begun = False
        self._under_way = set[Future[Any]]()

    @property
    def is_idle(self) -> bool:
        """Whether every call has returned, those that were given up as well."""
        return not self._under_way

    async def ask(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Raises TierUnavailable when there is no answer in time: the call goes on, and holds its thread until it
        returns. So does one that waits for a thread all of which are held.
        """
        if not self._begun:
            self._begun = True
            for thread in self._threads:
                thread.start()
        answer = Future[T]()
        self._under_way.add(answer)
        answer.add_done_callback(self._under_way.discard)
        self._jobs.put((answer, lambda: call(*args, **kwargs)))
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.wrap_future(answer)
        except TimeoutError:
            raise TierUnavailable(f"{self._name} does not answer within {self._timeout_s:g} s") from None

    def close(self) -> None:
        """Ends threads that are free, and the others as they become so."""
        for _ in self._threads:
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            answer, call = job
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:
                answer.set_exception(error)
            else:
                answer.set_result(result)
            del job, answer, call
