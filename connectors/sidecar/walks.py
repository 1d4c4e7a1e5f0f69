"""Walks: looks at all that is held. They take seconds where that is a million chunks, and memory while they last."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool

T = TypeVar("T")
_FEWEST_S, _MOST_OF_THE_TIME = 5.0, 0.1
_MOST_ANSWERS = 64


class Walks:
    """One at a time, in a thread; who comes meanwhile waits without one. For one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._turn, self._clock = asyncio.Semaphore(1), clock
        self._answers: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()

    async def now(self, work: Callable[..., T], *arguments: Any) -> T:
        """What the work returns."""
        async with self._turn:
            return await run_in_threadpool(work, *arguments)

    async def lately(self, name: Hashable, work: Callable[..., T], *arguments: Any) -> T:
        """What work of that name returned last, for five seconds or ten times as long as it took."""
        async with self._turn:
            until_s, answer = self._answers.get(name, (0.0, None))
            begun_s = self._clock()
            if begun_s >= until_s:
                answer = await run_in_threadpool(work, *arguments)
                ended_s = self._clock()
                until_s = ended_s + max(_FEWEST_S, (ended_s - begun_s) / _MOST_OF_THE_TIME)
                self._answers[name] = until_s, answer
                if len(self._answers) > _MOST_ANSWERS:
                    self._answers.popitem(last=False)
            return answer  # type: ignore[no-any-return]
