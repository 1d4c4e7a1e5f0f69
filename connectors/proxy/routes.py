"""OpenAI's routes: whatever an OpenAI client asks of them is asked of the upstream, unless the cache answers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from connectors.proxy.call import Call
from connectors.proxy.canonical import PATHS, Kind, NoQuestion, read_request
from connectors.proxy.events import MEDIA_TYPE
from connectors.proxy.exchange import Exchange
from connectors.proxy.front import Front
from connectors.proxy.openai_problems import OpenAIRoute
from connectors.proxy.passing import changing_answers, headers_on
from connectors.proxy.wishes import CATEGORY_PATTERN, LONGEST_S, Wishes, read_wishes
from connectors.sidecar.callers import Caller
from connectors.sidecar.context import CallerOf, Context, ContextOf, body_of
from connectors.sidecar.logs import REQUEST_ID
from connectors.sidecar.problems import OF_BODIES, Problem, responses

router = APIRouter(prefix="/v1", tags=["proxy"], route_class=OpenAIRoute)
_LONG_BYTES = 32 << 10  # reading so much JSON takes long enough to be done beside the event loop
_JSON = {"application/json": {"schema": {"type": "object"}}}
_EVENTS = {MEDIA_TYPE: {"schema": {"type": "string"}}}
_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}
_PROBLEMS = responses(
    *("unauthorized", "no-upstream", "invalid-request", "too-many-requests", *OF_BODIES),
    *("unavailable", "upstream-failed", "upstream-timeout", "not-cached"),
)
_MARKS = {
    name: {"description": said, "schema": {"type": "string"}}
    for name, said in {
        "x-kvstore-cache": "hit, miss or bypass.",
        "x-kvstore-cache-why": "One sentence, for people.",
        "x-kvstore-cache-rung": "Of a hit: exact or semantic.",
        "x-kvstore-hit-id": "What feedback names.",
        "x-kvstore-category": "What the question was counted as.",
        "x-kvstore-model": "Of a miss, where a small model may answer: which one did.",
        "x-kvstore-examples": "How many stored answers the small model was shown.",
        "x-kvstore-explanation": "JSON of what was decided, where it was asked for.",
    }.items()
}
_AS_UPSTREAM = {"description": "What the upstream answered, as it came.", "content": _JSON}
_CACHED: dict[int | str, dict[str, Any]] = {
    200: {"description": "An answer.", "headers": _MARKS, "content": {**_JSON, **_EVENTS}},
    "default": _AS_UPSTREAM,
    **_PROBLEMS,
}
_PASSED: dict[int | str, dict[str, Any]] = {200: _AS_UPSTREAM, "default": _AS_UPSTREAM, **_PROBLEMS}

_WISHES: list[dict[str, Any]] = [
    {"name": name, "in": "header", "required": False, "description": said, "schema": schema}
    for name, said, schema in (
        ("cache-control", "no-cache, no-store, max-age=N or only-if-cached.", {"type": "string"}),
        ("x-kvstore-cache", "Whether the cache is left out, or given a new answer.", {"enum": ["bypass", "refresh"]}),
        ("x-kvstore-category", "What the question is counted as.", {"type": "string", "pattern": CATEGORY_PATTERN}),
        ("x-kvstore-ttl-s", "For how long the answer is kept.", {"type": "number", "minimum": 0, "maximum": LONGEST_S}),
        ("x-kvstore-explain", "Whether the decision is explained.", {"enum": ["true", "false"]}),
    )
]
_CACHED_EXTRA = {**_BODY, "parameters": _WISHES}


@router.post("/chat/completions", response_class=Response, responses=_CACHED, openapi_extra=_CACHED_EXTRA)
async def chat_completions(request: Request, caller: CallerOf, context: ContextOf) -> Response:
    """A chat completion, as OpenAI has it: streamed or not, with tools, of several choices."""
    return await _answer(request, caller, context, Kind.CHAT)


@router.post("/completions", response_class=Response, responses=_CACHED, openapi_extra=_CACHED_EXTRA)
async def completions(request: Request, caller: CallerOf, context: ContextOf) -> Response:
    """A raw completion. Only the same words find an answer that is held."""
    return await _answer(request, caller, context, Kind.COMPLETION)


@router.post("/embeddings", response_class=Response, responses=_PASSED, openapi_extra=_BODY)
async def embeddings(request: Request, caller: CallerOf, context: ContextOf) -> Response:
    """Embeddings, of the upstream."""
    front = _front(context)
    return _passed(request, caller, front, "/embeddings", await _body(request, context, front))


@router.get("/models", response_class=Response, responses=_PASSED)
async def models(request: Request, caller: CallerOf, context: ContextOf) -> Response:
    """Models, of the upstream."""
    return _passed(request, caller, _front(context), "/models", None)


def _front(context: Context) -> Front:
    if context.front is None:
        raise Problem("no-upstream", "this service has no upstream: set proxy.upstream (KVSTORE_PROXY_UPSTREAM)")
    return context.front


async def _body(request: Request, context: Context, front: Front) -> bytes:
    async with body_of(request, context, front.bodies) as (num_bytes, pieces):
        body = b"".join([bytes(piece) async for piece in pieces])
    if len(body) != num_bytes:
        raise Problem("invalid-request", f"{len(body)} bytes came of {num_bytes}")
    return body


def _passed(request: Request, caller: Caller, front: Front, path: str, body: bytes | None) -> Exchange:
    headers = headers_on(request.headers, REQUEST_ID.get(), front.forwards_authorization)
    call = Call(request.method, path, body, headers, caller.name, Wishes(), None, "this is not cached")
    return _exchange(request, front, call)


async def _answer(request: Request, caller: Caller, context: Context, kind: Kind) -> Exchange:
    front, wishes = _front(context), read_wishes(request.headers)
    body = await _body(request, context, front)
    headers = headers_on(request.headers, REQUEST_ID.get(), front.forwards_authorization)
    asked, why_not = None, "there is no cache"
    if wishes.are_bypass:
        why_not = "a bypass was asked for"
    elif front.answering is not None:
        given = kind, body, caller.acts_for(None), wishes.category, front.terms.max_temperature
        try:
            if len(body) > _LONG_BYTES:
                asked = await run_in_threadpool(read_request, *given, changing_answers(headers))
            else:
                asked = read_request(*given, changing_answers(headers))
        except NoQuestion as reason:
            why_not = str(reason)
    return _exchange(request, front, Call("POST", PATHS[kind], body, headers, caller.name, wishes, asked, why_not))


def _exchange(request: Request, front: Front, call: Call) -> Exchange:
    request.state.ends_with_its_caller = True
    return Exchange(front, call)
