"""Lessons: what is asked behind the callers' backs, so that it is known what the small model's answers are worth.

Of some questions both models are asked, and their answers compared. And examples that were shown often, and did little
for what they cost, are computed again while nobody waits for the large model (IC-Cache's replay, arXiv 2501.12689).
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool

from connectors.proxy.answer_cache import Answering
from connectors.proxy.assembling import NotWhole
from connectors.proxy.behind import Behind
from connectors.proxy.call import Call
from connectors.proxy.canonical import PATHS, NoQuestion, read_request
from connectors.proxy.keeping import Stored
from connectors.proxy.stand_in import StandIn
from connectors.proxy.wishes import Wishes
from kvstore import KVCacheError
from semantic_cache.documents import Document
from semantic_cache.in_context import Plan
from semantic_cache.router import Model

_MOST_AT_ONCE = 4
_REPLAYED_S = 600.0  # of the large model, at most, for one look at what is due
_HEADERS = {"content-type": "application/json", "accept-encoding": "identity"}

Large = Callable[[Call], Awaitable[Stored]]
"""Computes a call's answer and keeps it. Raises Problem, Interrupted, NotWhole or KVCacheError."""


class Lessons:
    """Of one event loop."""

    def __init__(
        self,
        stand_in: StandIn,
        answering: Answering,
        large: Large,
        is_idle: Callable[[], bool],
        draw: Callable[[], float] = random.random,
        looks_every_s: float = 1.0,
    ) -> None:
        """`is_idle` says whether nobody waits for the large model; looked at every so often while something is due."""
        self._stand_in, self._answering, self._large, self._is_idle = stand_in, answering, large, is_idle
        self._draw, self._looks_every_s = draw, looks_every_s
        self._behind = Behind(_MOST_AT_ONCE)
        self._replaying: asyncio.Task[None] | None = None

    def of_small(self, call: Call, plan: Plan, small: Stored) -> None:
        """The small model answered: of some the large one is asked too, of fewer the more loaded it is."""
        if self._draw() < self._stand_in.compared * (1 - plan.load):
            self._behind.start(self._with_large(call, plan, small))

    def of_large(self, call: Call, plan: Plan, large: Stored) -> None:
        """The large model answered: of some the small one is asked too, with examples of every other."""
        if self._draw() < self._stand_in.compared:
            self._behind.start(self._with_small(call, plan.asking(Model.SMALL, examples=self._draw() < 0.5), large))

    def replay(self) -> None:
        """Has computed again what is due, as soon as nobody waits."""
        if self._replaying is None or self._replaying.done():
            self._replaying = self._behind.start(self._replay())

    async def close(self) -> None:
        await self._behind.close()

    async def _with_large(self, call: Call, plan: Plan, small: Stored) -> None:
        await self._compared(plan, small, await self._large(call))

    async def _with_small(self, call: Call, plan: Plan, large: Stored) -> None:
        assert call.asked is not None, "only what was asked is planned"
        spoken = await self._stand_in.ask(call, call.asked.whole(), plan)
        if spoken is not None and spoken.stored is not None:
            await self._compared(plan, spoken.stored, large)

    async def _compared(self, plan: Plan, small: Stored, large: Stored) -> None:
        same = await run_in_threadpool(self._answering.same, large.to_bytes(), small.to_bytes())
        await run_in_threadpool(self._stand_in.in_context.learn, plan, float(same))
        self._stand_in.counts["compared"] += 1
        self.replay()

    async def _replay(self) -> None:
        in_context = self._stand_in.in_context
        while due := await run_in_threadpool(in_context.due, _REPLAYED_S):
            while not self._is_idle():
                await asyncio.sleep(self._looks_every_s)
            now = await self._again(due[0])
            await run_in_threadpool(in_context.replayed, due[0], now)
            self._stand_in.counts["replayed"] += now is not None

    async def _again(self, document_id: int) -> int | None:
        """The document that takes its place; None where it cannot be computed again."""
        documents = self._answering.documents
        document = await run_in_threadpool(documents.get, document_id)
        call = None if document is None else _call_of(document)
        if document is None or call is None:
            return None
        try:
            await self._large(call)
        except (NotWhole, KVCacheError):
            return None
        return await run_in_threadpool(documents.find, document.query.exact_key)


def _call_of(document: Document) -> Call | None:
    """What was asked then; None where that is not known, or would be something else now."""
    stored = Stored.from_bytes(document.response)
    if stored is None or stored.asked is None:
        return None
    body = json.dumps(stored.asked).encode()
    try:
        asked = read_request(stored.kind, body, document.query.tenant, document.category)
    except NoQuestion:
        return None
    if asked.query.exact_key != document.query.exact_key:
        return None
    return Call("POST", PATHS[stored.kind], body, _HEADERS, document.writer, Wishes(), asked)
