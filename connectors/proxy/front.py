"""Front: a caller's request is answered from the cache where that is right, and else by the upstream.

Nothing that goes wrong with the cache is an error to the caller: the answer is then computed. What is not whole is not
kept.
"""

from __future__ import annotations

import asyncio
import logging
import time
from asyncio import CancelledError
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import aiohttp
from starlette.concurrency import run_in_threadpool

from connectors.proxy.answer_cache import Answering
from connectors.proxy.assembling import NotWhole
from connectors.proxy.canonical import Asked
from connectors.proxy.events import MEDIA_TYPE
from connectors.proxy.flight import Abandoned, Flight, Flights
from connectors.proxy.keeping import Stored, kept
from connectors.proxy.marks import BYPASS, MISS
from connectors.proxy.paraphrases import Paraphrases, ended
from connectors.proxy.passing import RawHeaders, headers_back
from connectors.proxy.recorder import OfJson, OfStream, Recorder, Unrecorded
from connectors.proxy.upstream import Interrupted, Upstream, interrupted
from connectors.proxy.wishes import Wishes
from connectors.sidecar.limits import Bodies
from connectors.sidecar.problems import Problem
from kvstore import InvalidRequest, KVCacheError
from semantic_cache.decision import Decision, Outcome
from semantic_cache.query import Query

ANSWERED = Outcome.EXACT.value, Outcome.SEMANTIC.value, MISS, BYPASS, "shared"
"""Where answers come from, as they are counted."""
_MOST_BYTES, _ALL_BYTES = 32 << 20, 256 << 20
_MOST_CHECKS = 8  # at once; of what is served meanwhile it is not learned whether it was right
_log = logging.getLogger("kvstore.proxy")


@dataclass(frozen=True)
class Call:
    """A caller's request, as far as the upstream and the cache are concerned."""

    method: str
    path: str
    body: bytes | None
    headers: Mapping[str, str]
    """For the upstream."""
    writer: str
    wishes: Wishes
    asked: Asked | None
    """None where it is no question for the cache."""
    why_not: str = ""
    """The cache is not asked."""


@dataclass(frozen=True)
class Hit:
    """The cache answers."""

    decision: Decision
    stored: Stored
    age_s: float


@dataclass(frozen=True)
class Head:
    """The upstream answers: what stands before its body."""

    status: int
    headers: RawHeaders
    cache: str
    why: str
    decision: Decision | None


Begun = Hit | Head


@dataclass(frozen=True)
class Terms:
    """What is kept, and how streams are asked for."""

    max_temperature: float = 1.0
    keeps_cut_off: bool = False
    asks_usage: bool = True
    """Has streams end with their usage, without which they are not kept; callers who did not ask do not see it."""


class Front:
    """Of one event loop."""

    def __init__(
        self,
        upstream: Upstream,
        answering: Answering | None = None,
        terms: Terms | None = None,
        forwards_authorization: bool = False,
        bodies: Bodies | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`close` closes the upstream, and not what answers; without that everything is passed through."""
        self.answering, self.terms, self.forwards_authorization = answering, terms or Terms(), forwards_authorization
        self.bodies = bodies or Bodies(_MOST_BYTES, _ALL_BYTES)
        """Room for requests on their way in."""
        self.counts: Counter[str] = Counter()
        self._upstream, self._clock = upstream, clock
        self._flights: Flights[Begun] = Flights()
        self._paraphrases: Paraphrases[Begun] = Paraphrases()
        self._checks: set[asyncio.Task[None]] = set()

    def under_way(self, call: Call) -> Flight[Begun] | None:
        """The flight that brings the same answer to somebody else, where it may be joined."""
        key = self._key(call)
        return None if key is None else self._flights.join(key)

    def fly(self, call: Call) -> Flight[Begun]:
        """A new one; others may join it."""
        return self._flights.start(partial(self._fly, call), self._key(call))

    async def close(self) -> None:
        await self._flights.close()
        await self._upstream.close()

    def _key(self, call: Call) -> object:
        """Of what may share an answer; None for what may not."""
        asked, wishes = call.asked, call.wishes
        if asked is None or not wishes.looks or not wishes.keeps:
            return None
        return asked.query.exact_key, asked.streams, asked.wants_usage or self.terms.asks_usage, wishes

    async def _fly(self, call: Call, flight: Flight[Begun]) -> None:
        decision, hit, why = await self._look(call)
        if hit is None and call.wishes.only_held:
            raise Problem("not-cached", why, {"x-should-retry": "false"})
        if hit is None and call.asked is not None and decision is not None and decision.outcome is Outcome.MISS:
            with self._paraphrases.joined(call.asked.query, flight) as earlier:
                if await self._waited(call.asked, earlier):
                    decision, hit, why = await self._look(call)
                if hit is None:
                    await self._compute(call, flight, decision, why)
        elif hit is None:
            await self._compute(call, flight, decision, why)
        if hit is not None:
            flight.answer.begin(hit)
            if hit.decision.check and call.wishes.keeps and len(self._checks) < _MOST_CHECKS:
                self._begin_check(call, hit.decision)

    def _begin_check(self, call: Call, decision: Decision) -> None:
        """Has the upstream answer as well, for the cache to learn whether what was served is right."""
        checking = asyncio.get_running_loop().create_task(self._checked(call, decision))
        self._checks.add(checking)
        checking.add_done_callback(self._checks.discard)

    async def _checked(self, call: Call, decision: Decision) -> None:
        flight = self._flights.start(lambda flight: self._compute(call, flight, decision, "a check of what was served"))
        reader = flight.answer.join()
        with suppress(Problem, Interrupted, Abandoned):
            await reader.begun()
            async for _ in reader:
                pass
        flight.leave(reader)

    async def _waited(self, asked: Asked, earlier: list[tuple[Flight[Begun], Query]]) -> bool:
        """Whether what has been computed meanwhile may answer, which the cache says."""
        alike = self.answering.alike if self.answering is not None else None
        earlier = [each for each in earlier if each[0].answer.may_be_joined]
        if alike is None or asked.by_words_only or not earlier:
            return False
        try:
            index = await run_in_threadpool(alike, asked.query, [query for _, query in earlier])
        except KVCacheError as error:
            _log.warning("the cache cannot be asked: %s", error)
            return False
        if index is None:
            return False
        await ended(earlier[index][0])
        return True

    async def _look(self, call: Call) -> tuple[Decision | None, Hit | None, str]:
        """What was decided, what answers, and why nothing does."""
        if call.asked is None or self.answering is None:
            return None, None, call.why_not
        if not call.wishes.looks:
            return None, None, "an answer computed now was asked for"
        try:
            decision = await run_in_threadpool(self.answering.cache.find, call.asked.query)
        except InvalidRequest as error:
            raise Problem("invalid-request", str(error)) from error  # of what the caller named
        except KVCacheError as error:
            _log.warning("the cache cannot be asked: %s", error)
            self.counts["cache_unavailable"] += 1
            return None, None, "the cache cannot be asked now"
        hit, why = self._hit(call, decision)
        return decision, hit, why

    def _hit(self, call: Call, decision: Decision) -> tuple[Hit | None, str]:
        if call.asked is None or not decision.hit or decision.document is None:
            return None, decision.why
        if decision.document.query.partition != call.asked.query.partition:
            return None, "the answer held is to another's question"
        if call.asked.by_words_only and decision.outcome is not Outcome.EXACT:
            return None, f"{call.asked.by_words_only}: only the same words find an answer"
        age_s = max(0.0, self._clock() - decision.document.saved_at_s)
        if age_s > call.wishes.max_age_s:
            return None, "the answer held is older than max-age"
        stored = Stored.from_bytes(decision.document.response)
        if stored is None:
            return None, "the answer held cannot be read"
        return Hit(decision, stored, age_s), decision.why

    async def _compute(self, call: Call, flight: Flight[Begun], decision: Decision | None, why: str) -> None:
        barred = decision is not None and decision.outcome is Outcome.BARRED
        keeps = call.asked is not None and self.answering is not None and call.wishes.keeps and not barred
        is_bypass = call.asked is None or self.answering is None or call.wishes.are_bypass or barred
        began_s, load = time.monotonic(), self.answering.load if self.answering is not None else None
        latency_s = None
        if load is not None:
            load.began()
        try:
            response = await self._upstream.ask(call.method, call.path, self._body(call, keeps), call.headers)
            recorder = _recorder(call.asked, response) if keeps else Unrecorded()
            head = Head(response.status, _headers(response), BYPASS if is_bypass else MISS, why, decision)
            await _relay(response, head, recorder, flight)
            latency_s = time.monotonic() - began_s if response.status == 200 else None
        finally:
            if load is not None:
                load.ended(latency_s)
        if not isinstance(recorder, Unrecorded) and latency_s is not None:
            await self._keep(call, decision, recorder, latency_s)

    def _body(self, call: Call, keeps: bool) -> bytes | None:
        """As it came; of a stream that is to be kept, one that asks for its usage."""
        asked = call.asked
        asks = keeps and self.terms.asks_usage and asked is not None and asked.streams and not asked.wants_usage
        return asked.body_with_usage() if asks and asked is not None else call.body

    async def _keep(self, call: Call, decision: Decision | None, recorder: Recorder, compute_s: float) -> None:
        assert call.asked is not None, "what is recorded was asked"
        try:
            await run_in_threadpool(self._put, call, call.asked, decision, recorder, compute_s)
        except NotWhole as reason:
            self.counts["not_kept"] += 1
            _log.info("an answer is not kept: %s", reason)
        except KVCacheError as error:
            self.counts["cache_unavailable"] += 1
            _log.warning("an answer cannot be kept: %s", error)

    def _put(self, call: Call, asked: Asked, decision: Decision | None, recorder: Recorder, compute_s: float) -> None:
        """Raises NotWhole."""
        assert self.answering is not None, "without a cache nothing is kept"
        cache, response = self.answering.cache, kept(asked, recorder.answer(), self.terms.keeps_cut_off).to_bytes()
        compares = decision is not None and (decision.outcome is Outcome.EXPLORE or decision.check)
        if compares and decision is not None and decision.document is not None:
            right = self.answering.same(decision.document.response, response)
            cache.feedback(decision.hit_id, asked.query.tenant, right)
        cache.add(asked.query, response, call.writer, compute_s, call.wishes.ttl_s)


async def _relay(response: aiohttp.ClientResponse, head: Head, recorder: Recorder, flight: Flight[Begun]) -> None:
    """To the answer's end, or until nobody waits for it: what is whole by then is whole."""
    try:
        flight.answer.begin(head)
        with interrupted():
            async for content in response.content.iter_any():
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
