"""Behind: what is asked of models behind the callers' backs: never much at once, and never an error to anybody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from connectors.proxy.assembling import NotWhole
from connectors.proxy.upstream import Interrupted
from connectors.sidecar.problems import Problem
from kvstore import KVCacheError

_log = logging.getLogger("kvstore.proxy")


class Behind:
    """Of one event loop. What fails teaches nothing."""

    def __init__(self, most: int) -> None:
        """`most` at once; what comes meanwhile is not asked."""
        self._most = most
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, asking: Coroutine[Any, Any, Any]) -> asyncio.Task[None] | None:
        """Beside the others, unless they are many."""
        if len(self._tasks) >= self._most:
            asking.close()
            return None
        task = asyncio.get_running_loop().create_task(_logged(asking))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Ends what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _logged(asking: Coroutine[Any, Any, Any]) -> None:
    try:
        await asking
    except (Problem, Interrupted, NotWhole, KVCacheError) as error:
        _log.info("nothing is learned: %s", error)
