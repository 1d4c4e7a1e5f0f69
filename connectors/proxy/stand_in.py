"""StandIn: a small model behind the proxy, which answers for the large one where it is believed to be good enough.

It is shown answers of the large one to questions like the one asked (docs/decisions/0031). Whatever goes wrong with it,
the large one is asked; and what it says is not kept.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

import aiohttp
from starlette.concurrency import run_in_threadpool

from connectors.proxy.answer_cache import Answering
from connectors.proxy.assembling import NotWhole
from connectors.proxy.call import Call
from connectors.proxy.canonical import Asked
from connectors.proxy.events import MEDIA_TYPE
from connectors.proxy.keeping import Stored, kept, only_text
from connectors.proxy.passing import without_authorization
from connectors.proxy.recorder import OfJson
from connectors.proxy.upstream import Interrupted, Upstream, interrupted
from connectors.sidecar.problems import Problem
from kvstore import InvalidRequest, KVCacheError
from kvstore.breaker import Breaker
from semantic_cache.cache import Near
from semantic_cache.decision import Decision, Outcome
from semantic_cache.example import Example
from semantic_cache.examples import with_examples
from semantic_cache.in_context import Plan
from semantic_cache.router import Model

_PLANNED = Outcome.MISS, Outcome.NOT_SEARCHED, Outcome.EXPLORE
_NEAREST = 8
_LEAST_COMPUTE_S = 1e-3
_log = logging.getLogger("kvstore.proxy")


@dataclass(frozen=True)
class Planned:
    """A plan that is carried out: who answers, and what feedback calls the answer."""

    plan: Plan
    model: str
    answer_id: str

    @property
    def num_examples(self) -> int | None:
        """None where it is not the small model that answers."""
        return len(self.plan.shown) if self.plan.is_small else None

    def explanation(self) -> dict[str, object]:
        selection = self.plan.selection
        shown = [
            {"asked": each.asked, "cosine": each.cosine, "tried": each.past.tried, "lift": each.past.lift}
            for each in self.plan.shown
        ]
        return {
            "model": self.model,
            "examples": shown,
            "quality_without": selection.without,
            "quality_with": selection.expected,
            "load": self.plan.load,
        }


@dataclass(frozen=True)
class Spoken:
    """The small model's answer, of a stream its beginning."""

    response: aiohttp.ClientResponse
    first: bytes
    """All of it where it is no stream."""
    stored: Stored | None
    """As it would be kept; None of a stream."""

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self.first
        async for content in self.response.content.iter_any():
            yield content


class StandIn:
    """Of one event loop."""

    def __init__(self, upstream: Upstream, model: str, answering: Answering, compared: float = 0.1) -> None:
        """`close` closes the upstream, which knows the small model as `model`.

        `compared` is the share of answers for which the other model is asked too, behind the caller's back. Raises
        InvalidRequest where there is nothing to be shown.
        """
        if answering.near is None or answering.in_context is None:
            raise InvalidRequest("a small model is shown stored answers, and this cache finds none for it")
        self.in_context, self.compared, self.counts = answering.in_context, compared, Counter[str]()
        self._upstream, self._model, self._near, self._load = upstream, model, answering.near, answering.load
        self._breaker = Breaker()

    async def close(self) -> None:
        await self._upstream.close()

    async def plan(self, call: Call, decision: Decision | None) -> Plan | None:
        """For what the cache looked for in vain; None where the model that was asked is to answer."""
        asked, wishes = call.asked, call.wishes
        if asked is None or decision is None or decision.outcome not in _PLANNED or asked.by_words_only:
            return None
        if not wishes.keeps or asked.query.model == self._model:
            return None
        try:
            plan = await run_in_threadpool(self._plan, asked, decision.category, wishes.max_age_s)
        except KVCacheError as error:
            _log.warning("no examples can be looked for: %s", error)
            return None
        explores = decision.outcome is Outcome.EXPLORE  # its answer is to be compared with the one held
        return plan.asking(Model.LARGE) if plan is not None and explores else plan

    def planned(self, call: Call, plan: Plan) -> Planned:
        """It is carried out."""
        assert call.asked is not None, "only what was asked is planned"
        query = call.asked.query
        model = self._model if plan.is_small else query.model
        return Planned(plan, model, self.in_context.remember(plan, query.tenant))

    async def ask(self, call: Call, asked: Asked, plan: Plan) -> Spoken | None:
        """The small model's answer to `asked`; None where it has none, or none of use: the large one is asked."""
        ticket = self._breaker.admit()
        if ticket is None:
            return None
        try:
            spoken = await self._begun(call, asked, plan)
        except NotWhole as reason:
            _log.info("the small model's answer is of no use: %s", reason)
            self._breaker.report(ticket, True)
            await run_in_threadpool(self.in_context.learn, plan, 0.0)
            return None
        except (Problem, Interrupted) as error:
            self.counts["small_failed"] += 1
            _log.info("the small model does not answer: %s", error)
            self._breaker.report(ticket, False)
            return None
        self._breaker.report(ticket, True)
        return spoken

    async def _begun(self, call: Call, asked: Asked, plan: Plan) -> Spoken:
        """Raises Problem and Interrupted where it does not begin, NotWhole for what is no answer."""
        messages = with_examples(asked.fields["messages"], plan.shown)
        body = replace(asked, fields={**asked.fields, "model": self._model, "messages": messages}).body()
        response = await self._upstream.ask("POST", call.path, body, without_authorization(call.headers))
        try:
            if response.status != 200:
                raise Problem("upstream-failed", f"status {response.status}")
            if response.content_type == MEDIA_TYPE:
                with interrupted():
                    first = await response.content.readany()
                if not first:
                    raise Interrupted("no events")
                return Spoken(response, first, None)
            recorder = OfJson()
            with interrupted():
                pieces = [piece async for content in response.content.iter_any() for piece in recorder.take(content)]
            stored = kept(asked, recorder.answer())
            return Spoken(response, b"".join(piece.content for piece in pieces), stored)
        except BaseException:
            response.close()
            raise

    def _plan(self, asked: Asked, category: str, max_age_s: float) -> Plan | None:
        found = self._near(asked.query, category, _NEAREST)
        if found is None:
            return None
        load = self._load.value if self._load is not None else 0.0
        candidates = [example for near in found if near.age_s <= max_age_s for example in _examples(near)]
        return self.in_context.plan(asked.query, category, candidates, load)


def _examples(near: Near) -> Iterator[Example]:
    """One, or none of an answer that is more than text."""
    document, answered = near.document, only_text(near.document.response)
    if answered is not None:
        compute_s = max(document.compute_s, _LEAST_COMPUTE_S)
        named = near.document_id, document.query.partition, document.category, document.query.text
        yield Example(*named, answered, near.cosine, near.age_s, compute_s)
