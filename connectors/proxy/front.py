"""Front: a caller's request is answered from the cache where that is right, and else by the upstream.

Nothing that goes wrong with the cache is an error to the caller: the answer is then computed. What is not whole is not
kept.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from starlette.concurrency import run_in_threadpool

from connectors.proxy.answer_cache import Answering
from connectors.proxy.begun import SMALL, Begun, Hit
from connectors.proxy.behind import Behind
from connectors.proxy.call import Call
from connectors.proxy.canonical import Asked
from connectors.proxy.computing import Computing, Terms
from connectors.proxy.flight import Flight, Flights
from connectors.proxy.keeping import Stored
from connectors.proxy.marks import BYPASS, MISS
from connectors.proxy.paraphrases import Paraphrases, ended
from connectors.proxy.stand_in import StandIn
from connectors.proxy.upstream import Upstream
from connectors.sidecar.limits import Bodies
from connectors.sidecar.problems import Problem
from kvstore import InvalidRequest, KVCacheError
from semantic_cache.decision import Decision, Outcome
from semantic_cache.query import Query

ANSWERED = Outcome.EXACT.value, Outcome.SEMANTIC.value, MISS, SMALL, BYPASS, "shared"
"""Where answers come from, as they are counted."""
_MOST_BYTES, _ALL_BYTES = 32 << 20, 256 << 20
_MOST_CHECKS = 8  # at once; of what is served meanwhile it is not learned whether it was right
_log = logging.getLogger("kvstore.proxy")


class Front:
    """Of one event loop."""

    def __init__(
        self,
        upstream: Upstream,
        answering: Answering | None = None,
        terms: Terms | None = None,
        forwards_authorization: bool = False,
        bodies: Bodies | None = None,
        stand_in: StandIn | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`close` closes the upstreams, and not what answers; without that everything is passed through."""
        self.answering, self.terms, self.forwards_authorization = answering, terms or Terms(), forwards_authorization
        self.stand_in = stand_in
        self.bodies = bodies or Bodies(_MOST_BYTES, _ALL_BYTES)
        """Room for requests on their way in."""
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._flights: Flights[Begun] = Flights()
        self._paraphrases: Paraphrases[Begun] = Paraphrases()
        self._checks = Behind(_MOST_CHECKS)
        self._computing = Computing(
            upstream, answering, self.terms, self.counts, stand_in, lambda: not len(self._flights)
        )

    def under_way(self, call: Call) -> Flight[Begun] | None:
        """The flight that brings the same answer to somebody else, where it may be joined."""
        key = self._key(call)
        return None if key is None else self._flights.join(key)

    def fly(self, call: Call) -> Flight[Begun]:
        """A new one; others may join it."""
        return self._flights.start(partial(self._fly, call), self._key(call))

    def feedback(self, hit_id: str, tenant: str, right: bool) -> bool:
        """Of an answer that the cache gave, or that either model did. False for an id that is not known."""
        known = self.answering is not None and self.answering.cache.feedback(hit_id, tenant, right)
        return known or (self.stand_in is not None and self.stand_in.in_context.feedback(hit_id, tenant, right))

    async def close(self) -> None:
        await self._checks.close()
        await self._flights.close()
        await self._computing.close()

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
                    await self._computing.compute(call, flight, decision, why)
        elif hit is None:
            await self._computing.compute(call, flight, decision, why)
        if hit is not None:
            flight.answer.begin(hit)
            if hit.decision.check and call.wishes.keeps:
                self._checks.start(self._computing.computed(call, hit.decision))

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
