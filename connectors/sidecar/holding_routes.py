"""What is held, for who looks after a store: what `ls`, `show` and `why-miss` say, while it is served."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.concurrency import run_in_threadpool

from connectors.inspection import prefixes
from connectors.inspection.chunk import chunk_as_json, look_at
from connectors.inspection.holdings import Held, NotHeld, find_held
from connectors.inspection.key_difference import compare_keys, compare_prompt_with_key
from connectors.inspection.listing import SortBy, heads, listed, listed_as_json
from connectors.inspection.miss import Answer, identities
from connectors.inspection.prefixes import Prefix
from connectors.inspection.prompt_difference import Prompt, compare_prompts
from connectors.sidecar.callers import Caller
from connectors.sidecar.context import CallerOf, Context, ContextOf
from connectors.sidecar.holding_schemas import (
    Digits,
    ListedChunk,
    MissAnswer,
    PrefixBody,
    QuarantinedChunk,
    ShownChunk,
    Tokens,
    WhyMissRequest,
)
from connectors.sidecar.problems import ALWAYS, Problem, responses
from connectors.sidecar.schemas import Tenant
from connectors.sidecar.view import View
from kvstore import DEFAULT_CHUNK_TOKENS, ChunkTree, Entry, EntryFilter

router = APIRouter(prefix="/v1", tags=["holdings"])
MOST_LISTED = 1000
Limit = Annotated[int, Query(ge=1, le=MOST_LISTED, description="At most so many.")]
Text = Annotated[str | None, Query(max_length=1024)]
DigitsQuery = Annotated[Digits, Query(description="A key, or its first digits: 8 or more, as many as are unique.")]


class By(StrEnum):
    """What makes a prefix one of the first."""

    HITS = "hits"
    BYTES = "bytes"


@router.get("/chunks", responses=responses(*ALWAYS, "forbidden"))
async def list_chunks(
    caller: CallerOf,
    context: ContextOf,
    model: Annotated[Text, Query(description="Only chunks of models with this in their name.")] = None,
    tenant: Annotated[Tenant | None, Query(description="Only chunks of this tenant.")] = None,
    sort: Annotated[SortBy, Query(description="The newest, largest, most or last used first.")] = SortBy.AGE,
    limit: Limit = 100,
    q: Annotated[
        Text, Query(description="Only chunks whose key begins so, or that have it in their model, codec or tenant.")
    ] = None,
) -> list[ListedChunk]:
    """The chunks held, as `kvstore ls` lists them."""
    of_tenant = EntryFilter(None if tenant is None else caller.acts_for(tenant))
    view = View(context.service.tiers, caller)
    return await context.walks.now(_listed, view, of_tenant, model or "", q or "", sort, limit)


def _listed(view: View, of_tenant: EntryFilter, model: str, text: str, sort: SortBy, limit: int) -> list[ListedChunk]:
    wanted: Callable[[Entry], bool] = of_tenant.selects
    if model or text:
        found = heads(view, ChunkTree(filter(of_tenant.selects, view.entries())))
        wanted = _fitting(found, model, text)
    chunks = islice(listed(view, sort, wanted), limit)
    return [ListedChunk.model_validate(listed_as_json(chunk)) for chunk in chunks]


def _fitting(heads: dict[Any, Held], model: str, text: str) -> Callable[[Entry], bool]:
    """What is asked for, of the chunks whose prompts have these heads. `text` in capitals or not, `model` as it is."""
    sought = text.casefold()

    def fits(entry: Entry) -> bool:
        head = heads.get(entry.key)
        if head is None or model not in head.model:
            return False
        names = (head.model, head.codec, entry.terms.tenant)
        return str(entry.key).startswith(sought) or any(sought in name.casefold() for name in names)

    return fits


@router.get("/chunks/{digits}", responses=responses(*ALWAYS, "not-found"))
async def show_chunk(
    caller: CallerOf,
    context: ContextOf,
    digits: Annotated[Digits, Path(description="A key, or its first digits: 8 or more, as many as are unique.")],
) -> ShownChunk:
    """Everything about one chunk, as `kvstore show` has it. Its whole frame is read and verified."""
    return await context.walks.now(_shown, context, caller, digits)


def _shown(context: Context, caller: Caller, digits: str) -> ShownChunk:
    tiers = context.service.tiers
    view = View(tiers, caller)
    try:
        chunk = look_at(view, ChunkTree(view.entries()), digits)
    except NotHeld as error:
        raise Problem("not-found", str(error)) from error
    lives_in = ", ".join(tier.name for tier in tiers.tiers if tier.match([chunk.held.entry.key]))
    return ShownChunk.model_validate(chunk_as_json(chunk, lives_in))


@router.get("/why-miss", responses=responses(*ALWAYS, "not-found"))
async def why_miss(caller: CallerOf, context: ContextOf, a: DigitsQuery, b: DigitsQuery) -> MissAnswer:
    """Why the KV of one chunk's prompt is not reused for another's: `kvstore why-miss` of two keys."""
    return await context.walks.now(_why_miss, View(context.service.tiers, caller), a, b)


@router.post("/why-miss", responses=responses(*ALWAYS, "not-found"))
async def why_miss_of_prompts(asked: WhyMissRequest, caller: CallerOf, context: ContextOf) -> MissAnswer:
    """As above, of keys or of prompts, given as their tokens."""
    return await context.walks.now(_why_miss, View(context.service.tiers, caller), asked.a, asked.b)


def _why_miss(view: View, a: str | Tokens, b: str | Tokens) -> MissAnswer:
    try:
        answer = _compared(view, ChunkTree(view.entries()), a, b)
    except NotHeld as error:
        raise Problem("not-found", str(error)) from error
    return MissAnswer.model_validate({"answer": answer.first, **answer.facts})


def _compared(view: View, tree: ChunkTree, a: str | Tokens, b: str | Tokens) -> Answer:
    if isinstance(a, str) and isinstance(b, str):
        return compare_keys(tree, find_held(view, tree, a), find_held(view, tree, b))
    if isinstance(a, Tokens) and isinstance(b, Tokens):
        prompts = Prompt(a.token_ids), Prompt(b.token_ids)
        return compare_prompts(tree, *prompts, identities(view, tree), DEFAULT_CHUNK_TOKENS)
    prompt, digits = (a, b) if isinstance(b, str) else (b, a)
    assert isinstance(prompt, Tokens)
    assert isinstance(digits, str)
    return compare_prompt_with_key(tree, Prompt(prompt.token_ids), find_held(view, tree, digits))


@router.get("/prefixes", responses=responses(*ALWAYS))
async def list_prefixes(
    caller: CallerOf,
    context: ContextOf,
    by: Annotated[By, Query(description="The most used first, of those that were ever, or the largest.")] = By.HITS,
    limit: Limit = 10,
) -> list[PrefixBody]:
    """First chunks of prompts, with what is held behind them: as of some seconds ago."""
    view = View(context.service.tiers, caller)
    found = await context.walks.lately((caller.name, "prefixes"), _prefixes, view)
    return [PrefixBody.model_validate({**asdict(prefix), "key": str(prefix.key)}) for prefix in found[by][:limit]]


def _prefixes(view: View) -> dict[By, list[Prefix]]:
    tree = ChunkTree(view.entries())
    model_of = functools.cache(functools.partial(prefixes.model_in, view))
    return {
        By.HITS: prefixes.hottest(tree, MOST_LISTED, model_of),
        By.BYTES: prefixes.largest(tree, MOST_LISTED, model_of),
    }


@router.get("/quarantined", responses=responses(*ALWAYS, "forbidden"))
async def list_quarantined(caller: CallerOf, context: ContextOf) -> list[QuarantinedChunk]:
    """Frames that failed a check and were taken out of service. For the admin: whose they were is not remembered."""
    caller.require_admin()
    notes = await run_in_threadpool(context.service.tiers.quarantined)
    return [QuarantinedChunk.model_validate({"key": key, **note}) for key, note in notes.items()]
