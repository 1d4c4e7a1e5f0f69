"""Computing: what the cache does not answer is asked of a model, the small or the large one; what is whole is kept."""

from __future__ import annotations

import logging
import time
from asyncio import CancelledError
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace

import aiohttp
from starlette.concurrency import run_in_threadpool

from connectors.proxy.answer_cache import Answering
from connectors.proxy.assembling import NotWhole
from connectors.proxy.begun import Begun, Head
from connectors.proxy.call import Call
from connectors.proxy.canonical import Asked
from connectors.proxy.events import MEDIA_TYPE
from connectors.proxy.flight import Flight
from connectors.proxy.keeping import Stored, kept
from connectors.proxy.lessons import Lessons
from connectors.proxy.marks import BYPASS, MISS
from connectors.proxy.passing import RawHeaders, changing_answers, headers_back
from connectors.proxy.recorder import OfJson, OfStream, Recorder, Unrecorded
from connectors.proxy.stand_in import StandIn
from connectors.proxy.upstream import Upstream, interrupted
from kvstore import KVCacheError
from semantic_cache.decision import Decision, Outcome
from semantic_cache.in_context import Plan
from semantic_cache.router import Model

_log = logging.getLogger("kvstore.proxy")


@dataclass(frozen=True)
class Terms:
    """What is kept, and how streams are asked for."""

    max_temperature: float = 1.0
    keeps_cut_off: bool = False
    asks_usage: bool = True
    """Has streams end with their usage, without which they are not kept; callers who did not ask do not see it."""


@dataclass
class UnderWay:
    """A call to the upstream, and how it went."""

    is_whole: bool = False
    latency_s: float = 0.0


class Computing:
    """Of one event loop."""

    def __init__(
        self,
        upstream: Upstream,
        answering: Answering | None,
        terms: Terms,
        counts: Counter[str],
        stand_in: StandIn | None = None,
        nobody_waits: Callable[[], bool] = lambda: True,
    ) -> None:
        """`close` closes the upstream and the small model's."""
        self.terms, self.stand_in = terms, stand_in
        self._upstream, self._answering, self._counts, self._nobody_waits = upstream, answering, counts, nobody_waits
        self._lessons = None
        if stand_in is not None and answering is not None:
            self._lessons = Lessons(stand_in, answering, self.computed, self._is_idle)

    async def compute(self, call: Call, flight: Flight[Begun], decision: Decision | None, why: str) -> None:
        plan = None if self.stand_in is None else await self.stand_in.plan(call, decision)
        if plan is None or not plan.is_small or not await self._small(call, flight, decision, why, plan):
            await self._large(call, flight, decision, why, plan)

    async def _small(self, call: Call, flight: Flight[Begun], decision: Decision | None, why: str, plan: Plan) -> bool:
        """Whether the small model answers. What it says is not kept: it is not what was asked for."""
        assert call.asked is not None, "only what was asked is planned"
        assert self.stand_in is not None, "it planned"
        assert self._lessons is not None, "likewise"
        asked = call.asked.with_usage() if self._asks_usage(call.asked) else call.asked
        spoken = await self.stand_in.ask(call, asked, plan)
        if spoken is None:
            return False
        recorder = _recorder(call.asked, spoken.response)
        head = Head(200, _headers(spoken.response), MISS, why, decision, self.stand_in.planned(call, plan))
        await _relay(spoken.response, spoken.pieces(), head, recorder, flight)
        with suppress(NotWhole):
            self._lessons.of_small(call, plan, kept(call.asked, recorder.answer()))
        return True

    async def _large(
        self, call: Call, flight: Flight[Begun], decision: Decision | None, why: str, plan: Plan | None
    ) -> None:
        barred = decision is not None and decision.outcome is Outcome.BARRED
        keeps = call.asked is not None and self._answering is not None and call.wishes.keeps and not barred
        is_bypass = call.asked is None or self._answering is None or call.wishes.are_bypass or barred
        cache, plan = BYPASS if is_bypass else MISS, None if plan is None else plan.asking(Model.LARGE)
        planned = None if plan is None or self.stand_in is None else self.stand_in.planned(call, plan)
        with self._under_load() as under_way:
            response = await self._upstream.ask(call.method, call.path, self._body(call, keeps), call.headers)
            recorder = _recorder(call.asked, response) if keeps else Unrecorded()
            head = Head(response.status, _headers(response), cache, why, decision, planned)
            await _relay(response, response.content.iter_any(), head, recorder, flight)
            under_way.is_whole = response.status == 200
        if not isinstance(recorder, Unrecorded) and under_way.is_whole:
            stored = await self._keep(call, decision, recorder, under_way.latency_s)
            if stored is not None and plan is not None and self._lessons is not None:
                self._lessons.of_large(call, plan, stored)

    async def computed(self, call: Call, decision: Decision | None = None) -> Stored:
        """Has the upstream answer while nobody waits, keeps that, and has the cache told of what it decided before.

        Raises Problem and Interrupted where it does not, NotWhole for what is not to be kept, and KVCacheError.
        """
        assert call.asked is not None, "only what was asked is computed"
        asked, recorder = call.asked.whole(), OfJson()
        with self._under_load() as call_under_way:
            response = await self._upstream.ask(call.method, call.path, asked.body(), call.headers)
            with interrupted(), closing(response):
                async for content in response.content.iter_any():
                    list(recorder.take(content))
            call_under_way.is_whole = response.status == 200
        return await run_in_threadpool(self._put, call, call.asked, decision, recorder, call_under_way.latency_s)

    async def close(self) -> None:
        if self._lessons is not None:
            await self._lessons.close()
        if self.stand_in is not None:
            await self.stand_in.close()
        await self._upstream.close()

    @contextmanager
    def _under_load(self) -> Iterator[UnderWay]:
        """A call to the upstream, as far as its load is concerned."""
        under_way, began_s = UnderWay(), time.monotonic()
        load = self._answering.load if self._answering is not None else None
        if load is not None:
            load.began()
        try:
            yield under_way
        finally:
            under_way.latency_s = time.monotonic() - began_s
            if load is not None:
                load.ended(under_way.latency_s if under_way.is_whole else None)

    def _is_idle(self) -> bool:
        load = self._answering.load if self._answering is not None else None
        return self._nobody_waits() and (load is None or load.value == 0)

    def _asks_usage(self, asked: Asked) -> bool:
        return self.terms.asks_usage and asked.streams and not asked.wants_usage

    def _body(self, call: Call, keeps: bool) -> bytes | None:
        """As it came; of a stream that is to be kept, one that asks for its usage."""
        asked = call.asked
        return asked.with_usage().body() if keeps and asked is not None and self._asks_usage(asked) else call.body

    async def _keep(self, call: Call, decision: Decision | None, recorder: Recorder, compute_s: float) -> Stored | None:
        """What is kept, if anything."""
        assert call.asked is not None, "what is recorded was asked"
        try:
            return await run_in_threadpool(self._put, call, call.asked, decision, recorder, compute_s)
        except NotWhole as reason:
            self._counts["not_kept"] += 1
            _log.info("an answer is not kept: %s", reason)
        except KVCacheError as error:
            self._counts["cache_unavailable"] += 1
            _log.warning("an answer cannot be kept: %s", error)
        return None

    def _stored(self, call: Call, asked: Asked, recorder: Recorder) -> Stored:
        """With what was asked where that may be asked again, as an example's answer is. Raises NotWhole."""
        stored = kept(asked, recorder.answer(), self.terms.keeps_cut_off)
        again = self.stand_in is not None and not asked.by_words_only and not changing_answers(call.headers)
        return replace(stored, asked=asked.whole().fields) if again else stored

    def _put(self, call: Call, asked: Asked, decision: Decision | None, recorder: Recorder, compute_s: float) -> Stored:
        """Raises NotWhole."""
        stored = self._stored(call, asked, recorder)
        response = stored.to_bytes()
        assert self._answering is not None, "without a cache nothing is kept"
        cache = self._answering.cache
        if decision is not None and decision.document is not None and decision.is_compared:
            right = self._answering.same(decision.document.response, response)
            cache.feedback(decision.hit_id, asked.query.tenant, right)
        cache.add(asked.query, response, call.writer, compute_s, call.wishes.ttl_s)
        return stored


async def _relay(
    response: aiohttp.ClientResponse,
    pieces: AsyncIterator[bytes],
    head: Head,
    recorder: Recorder,
    flight: Flight[Begun],
) -> None:
    """To the answer's end, or until nobody waits for it: what is whole by then is whole."""
    try:
        flight.answer.begin(head)
        with interrupted():
            async for content in pieces:
                for piece in recorder.take(content):
                    await flight.answer.put(piece)
        for piece in recorder.rest():
            await flight.answer.put(piece)
        flight.answer.end()
    except CancelledError:
        if not recorder.is_done:
            raise
    finally:
        response.close()


def _headers(response: aiohttp.ClientResponse) -> RawHeaders:
    headers = headers_back(response.raw_headers)
    if response.content_type != MEDIA_TYPE:
        return headers
    return [(name, value) for name, value in headers if name != b"content-length"]  # not all of it may be passed on


def _recorder(asked: Asked | None, response: aiohttp.ClientResponse) -> Recorder:
    """Of whole answers alone, whose bytes are as they were said."""
    plain = response.headers.get("content-encoding", "identity") == "identity"
    if asked is None or response.status != 200 or not plain:
        return Unrecorded()
    if response.content_type == MEDIA_TYPE:
        return OfStream(asked.kind)
    return OfJson() if response.content_type == "application/json" else Unrecorded()
