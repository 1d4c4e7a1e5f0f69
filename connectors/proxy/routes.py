"""OpenAI's routes: whatever an OpenAI client asks of them is asked of the upstream, unless the cache answers."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from connectors.proxy.call import Call
from connectors.proxy.canonical import PATHS, Kind, NoQuestion, read_request
from connectors.proxy.described import BODY, CACHED, MESSAGES, PASSED, TEXT, asking
from connectors.proxy.exchange import Exchange
from connectors.proxy.front import Front
from connectors.proxy.openai_problems import OpenAIRoute, or_openai_problem
from connectors.proxy.passing import changing_answers, headers_on
from connectors.proxy.wishes import Wishes, read_wishes
from connectors.sidecar.callers import Caller
from connectors.sidecar.context import CallerOf, Context, ContextOf, admitted, body_of, context_of
from connectors.sidecar.logs import REQUEST_ID
from connectors.sidecar.problems import Problem

router = APIRouter(prefix="/v1", tags=["proxy"], route_class=OpenAIRoute)
_LONG_BYTES = 32 << 10  # reading so much JSON takes long enough to be done beside the event loop


@router.post("/chat/completions", response_class=Response, responses=CACHED, openapi_extra=asking(messages=MESSAGES))
async def chat_completions(request: Request, caller: CallerOf, context: ContextOf) -> Response:
    """A chat completion, as OpenAI has it: streamed or not, with tools, of several choices."""
    return await _answer(request, caller, context, Kind.CHAT)


async def usual_chat(request: Request) -> Response | None:
    """Answers a chat as nearly all are; None, with nothing read of its body, where parameters are to be refused."""
    return None if request.scope["query_string"] else await or_openai_problem(_straight(request))


async def _straight(request: Request) -> Response:
    return await chat_completions(request, admitted(request), context_of(request))


@router.post("/completions", response_class=Response, responses=CACHED, openapi_extra=asking(prompt=TEXT))
async def completions(request: Request, caller: CallerOf, context: ContextOf) -> Response:
    """A raw completion. Only the same words find an answer that is held."""
    return await _answer(request, caller, context, Kind.COMPLETION)


@router.post("/embeddings", response_class=Response, responses=PASSED, openapi_extra=BODY)
async def embeddings(request: Request, caller: CallerOf, context: ContextOf) -> Response:
    """Embeddings, of the upstream."""
    front = _front(context)
    return _passed(request, caller, front, "/embeddings", await _body(request, context, front))


@router.get("/models", response_class=Response, responses=PASSED)
async def models(request: Request, caller: CallerOf, context: ContextOf) -> Response:
    """Models, of the upstream."""
    return _passed(request, caller, _front(context), "/models", None)


@router.get("/models/{model:path}", response_class=Response, responses=PASSED)
async def model(
    model: Annotated[str, Path(max_length=500)], request: Request, caller: CallerOf, context: ContextOf
) -> Response:
    """One model, of the upstream."""
    if {"", ".", ".."} & set(model.split("/")):
        raise Problem("not-found", f"no model is called {model[:50]!r}: see GET /v1/models")  # but another address
    return _passed(request, caller, _front(context), f"/models/{quote(model, safe='')}", None)


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
