"""Exchange: one answer on its way to one caller, given up as soon as the caller is gone."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from connectors.proxy import replay
from connectors.proxy.begun import Begun, Head, Hit
from connectors.proxy.broadcast import Reader
from connectors.proxy.call import Call
from connectors.proxy.events import MEDIA_TYPE
from connectors.proxy.flight import Abandoned, Flight
from connectors.proxy.front import Front
from connectors.proxy.marks import BYPASS, HIT, marks
from connectors.proxy.openai_problems import openai_problem
from connectors.proxy.passing import RawHeaders
from connectors.proxy.stand_in import Planned
from connectors.proxy.upstream import Interrupted
from connectors.sidecar.problems import Problem
from semantic_cache.decision import Decision


class Exchange(Response):
    """An ASGI application that answers one request."""

    def __init__(self, front: Front, call: Call, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._front, self._call, self._clock = front, call, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answering = asyncio.ensure_future(self._answer(scope, receive, send))
        leaving = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (answering, leaving):
                task.cancel()
            with suppress(asyncio.CancelledError):
                await answering

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            under_way = self._front.under_way(self._call)
            if under_way is None or not await self._answered(under_way, True, scope, receive, send):
                await self._answered(self._front.fly(self._call), False, scope, receive, send)
        except Problem as problem:
            await openai_problem(problem)(scope, receive, send)
        except Interrupted:
            await openai_problem(Problem("upstream-failed", "the upstream did not answer"))(scope, receive, send)

    async def _answered(self, flight: Flight[Begun], shared: bool, scope: Scope, receive: Receive, send: Send) -> bool:
        """False where it is another's flight, whose answer turns out to be for who asked alone."""
        reader = flight.answer.join()
        try:
            begun = await reader.begun()
            if isinstance(begun, Hit):
                await self._replayed(begun)(scope, receive, send)
            elif shared and begun.cache == BYPASS:
                return False
            else:
                await self._relay(begun, reader, shared, send)
            return True
        finally:
            flight.leave(reader)

    def _replayed(self, hit: Hit) -> Response:
        asked, now_s = self._call.asked, self._clock()
        assert asked is not None, "only what was asked is found"
        self._front.counts[hit.decision.outcome] += 1
        if asked.streams:
            content = b"".join(replay.streamed(hit.stored, now_s, asked.wants_usage))
            response = Response(content, media_type=f"{MEDIA_TYPE}; charset=utf-8")
        else:
            response = Response(replay.whole(hit.stored, now_s), media_type="application/json")
        response.raw_headers += self._marks(HIT, hit.decision.why, hit.decision, hit.age_s)
        return response

    async def _relay(self, head: Head, reader: Reader[Begun], shared: bool, send: Send) -> None:
        """What does not come to its end does not look as if it did: the connection ends instead."""
        self._front.counts["shared" if shared else head.counted_as] += 1
        why = "the same question was under way" if shared else head.why
        headers = [*head.headers, *self._marks(head.cache, why, head.decision, planned=head.planned)]
        asked = self._call.asked
        withheld = asked is not None and asked.streams and not asked.wants_usage
        await send({"type": "http.response.start", "status": head.status, "headers": headers})
        with suppress(Interrupted, Abandoned):
            async for piece in reader:
                if not (piece.is_usage and withheld):
                    await send({"type": "http.response.body", "body": piece.content, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _marks(
        self,
        cache: str,
        why: str,
        decision: Decision | None,
        age_s: float | None = None,
        planned: Planned | None = None,
    ) -> RawHeaders:
        if decision is None:
            return marks(cache, why)
        explanation = _explanation(decision, planned) if self._call.wishes.explains else None
        if planned is not None:
            return marks(
                cache,
                why,
                hit_id=planned.answer_id,
                category=decision.category,
                model=planned.model,
                num_examples=planned.num_examples,
                explanation=explanation,
            )
        if cache != HIT:  # feedback would be of an answer that nobody saw
            return marks(cache, why, category=decision.category, explanation=explanation)
        return marks(
            cache, why, decision.outcome.value, decision.hit_id, decision.category, age_s, explanation=explanation
        )


async def _gone(receive: Receive) -> None:
    """Returns when the caller has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _explanation(decision: Decision, planned: Planned | None) -> dict[str, Any]:
    """All that was decided, but for the answer itself: of that, who had it computed, when, and of which model."""
    said = {name: getattr(decision, name) for name in ("outcome", "why", "category", "floor", "check")}
    for name, part in (("considered", decision.considered), ("certified", decision.certified)):
        if part is not None:
            said[name] = {key: _finite(value) for key, value in asdict(part).items()}
    document = decision.document
    if document is not None:
        said |= {"writer": document.writer, "saved_at_s": document.saved_at_s, "model": document.query.model}
    if planned is not None:
        said["in_context"] = planned.explanation()
    return said


def _finite(value: Any) -> Any:
    """JSON has no infinity, and nothing that is no number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
