"""Routes for whoever looks after the cache: what is held, how its categories do, and what its answers were worth."""

from __future__ import annotations

import math
import time
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool

from connectors.proxy import answer_book
from connectors.proxy.answer_book import Line, Wanted
from connectors.proxy.answer_cache import Answering
from connectors.proxy.front import Front
from connectors.proxy.schemas import (
    AnswerBody,
    AnswerPage,
    CategoryList,
    DropAnswer,
    FeedbackAnswer,
    FeedbackRequest,
    LoadAnswer,
    LoadRequest,
)
from connectors.proxy.wishes import CATEGORY_PATTERN, LONGEST_S
from connectors.sidecar.context import CallerOf, Context, ContextOf
from connectors.sidecar.problems import ALWAYS, OF_BODIES, Problem, responses
from connectors.sidecar.schemas import Tenant

router = APIRouter(prefix="/v1", tags=["answers"])
_SHOWN = 500  # characters of a question, and of an answer
_MOST_AT_ONCE = 200
_RESPONSES = responses(*ALWAYS, "forbidden", "no-cache")
_OF_BODY = responses(*ALWAYS, *OF_BODIES, "forbidden", "no-cache")

_After = Annotated[int, Query(ge=-1, le=1 << 62, description="`next_after` of the page before.")]
_Limit = Annotated[int, Query(ge=1, le=_MOST_AT_ONCE)]
_DryRun = Annotated[bool, Query(description="Counts them and lets them be.")]


async def _wanted(
    caller: CallerOf,
    text: Annotated[str | None, Query(max_length=500, description="Stands in the question.")] = None,
    category: Annotated[str | None, Query(pattern=CATEGORY_PATTERN)] = None,
    tenant: Annotated[Tenant | None, Query()] = None,
    older_than_s: Annotated[float | None, Query(ge=0, le=LONGEST_S, description="Since it was computed.")] = None,
) -> Wanted:
    """Of a tenant its own alone; of the admin everybody's, unless one is named."""
    whose = tenant if caller.is_admin else caller.acts_for(tenant)
    return Wanted(whose, category, text, older_than_s)


_Which = Annotated[Wanted, Depends(_wanted)]


@router.post("/feedback", responses=_OF_BODY)
async def feedback(given: FeedbackRequest, caller: CallerOf, context: ContextOf) -> FeedbackAnswer:
    """Say whether an answer was right, by the `x-kvstore-hit-id` that it came with. Each counts once."""
    front, tenant = _front(context), caller.acts_for(given.tenant)
    return FeedbackAnswer(counted=await run_in_threadpool(front.feedback, given.hit_id, tenant, given.right))


@router.post("/load", responses=_OF_BODY)
async def load(given: LoadRequest, caller: CallerOf, context: ContextOf) -> LoadAnswer:
    """Say how loaded the upstream is, where that is known better than from the time that its answers take."""
    caller.require_admin()
    measured = _answering(context).load
    if measured is None:
        raise Problem("no-cache", "nothing here depends on the upstream's load")
    measured.tell(given.load, given.for_s)
    return LoadAnswer(load=measured.value)


@router.get("/answers", responses=_RESPONSES)
async def list_answers(
    caller: CallerOf,
    context: ContextOf,
    wanted: _Which,
    after: _After = -1,
    limit: _Limit = 50,
) -> AnswerPage:
    """Answers that are held, of those that the caller sees, the oldest first. A page may be short, or empty."""
    found = await run_in_threadpool(answer_book.page, _answering(context), wanted, time.time(), after, limit)
    return AnswerPage(answers=[_body(line) for line in found.lines], next_after=found.next_after)


@router.delete("/answers", responses=_RESPONSES)
async def drop_answers(
    caller: CallerOf,
    context: ContextOf,
    wanted: _Which,
    dry_run: _DryRun = False,
) -> DropAnswer:
    """Drop the answers of which all that is said is true; a tenant its own alone."""
    answering = _answering(context)
    if dry_run:
        chosen = await run_in_threadpool(answer_book.chosen_ids, answering, wanted, time.time())
        return DropAnswer(answers=len(chosen), dropped=False)
    dropped = await run_in_threadpool(answer_book.drop, answering, wanted, time.time())
    return DropAnswer(answers=dropped, dropped=True)


@router.get("/categories", responses=_RESPONSES)
async def categories(caller: CallerOf, context: ContextOf) -> CategoryList:
    """How each category does, of all tenants together."""
    caller.require_admin()
    return CategoryList(categories=list(await run_in_threadpool(_answering(context).categories)))


def _front(context: Context) -> Front:
    if context.front is None or context.front.answering is None:
        raise Problem("no-cache", "this service keeps no answers: its settings have none kept")
    return context.front


def _answering(context: Context) -> Answering:
    answering = _front(context).answering
    assert answering is not None, "a front without is none here"
    return answering


def _body(line: Line) -> AnswerBody:
    held, document = line.held, line.document
    return AnswerBody(
        id=held.id,
        question=_shown(document.query.text),
        answer=_shown(answer_book.said(document)),
        model=_shown(document.query.model),
        category=held.category,
        tenant=held.tenant,
        writer=document.writer,
        saved_at_s=held.saved_at_s,
        expires_at_s=held.expires_at_s if math.isfinite(held.expires_at_s) else None,
        compute_s=held.compute_s,
        size_bytes=held.size_bytes,
    )


def _shown(text: str) -> str:
    """Its beginning, as JSON may say it."""
    return text[:_SHOWN].encode(errors="replace").decode()
