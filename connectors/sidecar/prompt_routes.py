"""A prompt's chunks together: what is held of them, leases, their frames in one body, and what becomes of them."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool

from connectors import frame_stream
from connectors.sidecar.callers import Caller
from connectors.sidecar.context import CallerOf, Context, ContextOf, body_of, caller_of, context_of
from connectors.sidecar.frame_routes import answer_to_put
from connectors.sidecar.problems import ALWAYS, OF_BODIES, Problem, responses
from connectors.sidecar.schemas import (
    Accepted,
    DeleteAnswer,
    DeleteRequest,
    Descriptor,
    DescriptorAnswer,
    Held,
    Key,
    KeyList,
    LeaseBody,
    LeaseRequest,
    MatchAnswer,
    MatchRequest,
    PinRequest,
    PutAnswer,
    QuarantineRequest,
    Run,
    Tenant,
)
from connectors.sidecar.service import Matched, key_of
from connectors.sidecar.usual_route import UsualRoute, usually
from kvstore import ChunkKey, EntryFilter
from kvstore.tier import InFile

router = APIRouter(prefix="/v1", tags=["prompts"], route_class=UsualRoute)
_STREAM = {frame_stream.MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}
_LEASE_ID = r"^[A-Za-z0-9_\-]{16}$"
LeaseId = Annotated[str, Path(pattern=_LEASE_ID)]


def _keys(keys: Sequence[Key]) -> list[ChunkKey]:
    return [ChunkKey(bytes.fromhex(key)) for key in keys]


async def _usual_match(request: Request) -> Response | None:
    asked = await _asked(request)
    return None if asked is None else _said(await match(asked, await caller_of(request, None), context_of(request)))


async def _usual_descriptors(request: Request) -> Response | None:
    asked = await _asked(request)
    if asked is None:
        return None
    return _said(await descriptors(asked, await caller_of(request, None), context_of(request)))


async def _asked(request: Request) -> MatchRequest | None:
    if request.headers.get("content-type") != "application/json" or request.scope["query_string"]:
        return None
    try:
        return MatchRequest.model_validate_json(await request.body())
    except ValidationError:
        return None


def _said(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")


@router.post("/match", responses=responses(*ALWAYS))
@usually(_usual_match)
async def match(asked: MatchRequest, caller: CallerOf, context: ContextOf) -> MatchAnswer:
    """How many leading chunks are held. Reads no frame, counts and ages nothing."""
    matched = _matched(asked, caller, context)
    return MatchAnswer(held=matched.held, runs=_runs(matched), lease=_lease(matched, asked.lease_s))


@router.post("/descriptors", responses=responses(*ALWAYS, "forbidden"))
@usually(_usual_descriptors)
async def descriptors(asked: MatchRequest, caller: CallerOf, context: ContextOf) -> DescriptorAnswer:
    """Where the leading chunks held lie in this host's files, for callers on the Unix socket, who read them there.

    Whoever reads compares the checksum: without a lease, and where room is made on disk, a frame may be elsewhere
    by then; ask again, or get its body.
    """
    if not caller.on_this_host:
        raise Problem("forbidden", "descriptors are for who asks over the Unix socket")
    matched = _matched(asked, caller, context)
    places = await run_in_threadpool(context.service.in_files, caller, _keys(asked.keys[: matched.held]))
    frames = [_descriptor(*pair) for pair in zip(asked.keys, places, strict=False)]
    lease = _lease(matched, asked.lease_s)
    return DescriptorAnswer(held=matched.held, runs=_runs(matched), lease=lease, frames=frames)


def _matched(asked: MatchRequest, caller: Caller, context: Context) -> Matched:
    matched = context.service.match(caller, _keys(asked.keys), asked.lease_s)
    context.service.metrics.count("chunks_asked", len(asked.keys))
    context.service.metrics.count("chunks_matched", matched.held)
    return matched


def _runs(matched: Matched) -> list[Run]:
    return [Run(tier=tier, chunks=chunks) for tier, chunks in matched.runs]


def _lease(matched: Matched, seconds: float) -> LeaseBody | None:
    return None if matched.lease is None else LeaseBody(id=matched.lease.id, seconds=seconds)


def _descriptor(key: str, place: InFile | None) -> Descriptor | None:
    if place is None:
        return None
    return Descriptor(
        key=key, path=str(place.path), offset=place.offset, size_bytes=place.size_bytes, xxh3=place.xxh3.hex()
    )


@router.put("/leases/{lease}", responses=responses(*ALWAYS, "not-found"))
async def renew(lease: LeaseId, asked: LeaseRequest, caller: CallerOf, context: ContextOf) -> LeaseBody:
    """Have leased frames stay for longer, from now on."""
    if not context.service.leases.renew(lease, asked.lease_s, caller.name):
        raise Problem("not-found", f"there is no lease {lease}, or no longer")
    return LeaseBody(id=lease, seconds=asked.lease_s)


async def _usual_release(request: Request) -> Response | None:
    lease = request.path_params["lease"]
    if re.fullmatch(_LEASE_ID, lease) is None or request.scope["query_string"] or "content-length" in request.headers:
        return None
    await release(lease, await caller_of(request, None), context_of(request))
    return Response(status_code=204)


@router.delete("/leases/{lease}", status_code=204, responses=responses(*ALWAYS, "not-found"))
@usually(_usual_release)
async def release(lease: LeaseId, caller: CallerOf, context: ContextOf) -> None:
    """End a lease: what was leased is loaded."""
    if not context.service.leases.release(lease, caller.name):
        raise Problem("not-found", f"there is no lease {lease}, or no longer")


@router.post(
    "/frames/read",
    response_class=StreamingResponse,
    responses={
        200: {"description": "Frames, one behind the other.", "content": _STREAM},
        **responses(*ALWAYS),
    },
)
async def read_frames(asked: KeyList, caller: CallerOf, context: ContextOf) -> StreamingResponse:
    """The frames of the leading chunks held, in one body. It ends with the first that is not to be had."""
    frames = _frames(context, caller, _keys(asked.keys))
    return StreamingResponse(frames, media_type=frame_stream.MEDIA_TYPE)


def _frames(context: Context, caller: Caller, keys: Sequence[ChunkKey]) -> Iterator[bytes | memoryview]:
    for key in keys:
        frame = context.service.get(caller, key)
        if frame is None:
            context.service.metrics.count("frames_missed")
            return
        context.service.metrics.count("frames_given")
        yield frame_stream.head_of(key, frame)
        yield frame


@router.post(
    "/frames/write",
    status_code=201,
    responses=responses(*ALWAYS, *OF_BODIES, "forbidden", "corrupt-frame", "no-room"),
    openapi_extra={"requestBody": {"required": True, "content": _STREAM}},
)
async def write_frames(
    request: Request,
    caller: CallerOf,
    context: ContextOf,
    parent: Annotated[
        Key | None, Query(description="The chunk before the first one in its prompt; none for a prompt's first.")
    ] = None,
    tenant: Annotated[Tenant | None, Query(description="Whose they are: the token's own where absent.")] = None,
    ttl_s: Annotated[float, Query(ge=0, le=10**10, description="How long they are kept at most; 0: for ever.")] = 0.0,
    expires_at_s: Annotated[
        float | None, Query(ge=0, le=10**11, description="Until when, in Unix seconds: for who has a clock of its own.")
    ] = None,
    durable: Annotated[bool, Query(description="Answer when they outlive a loss of power, or not at all.")] = False,
) -> PutAnswer:
    """Keep several frames of one prompt, each behind the one before."""
    owner = caller.acts_for(tenant)
    async with body_of(request, context) as (num_bytes, pieces):
        entries = [entry async for entry in frame_stream.read_frames(pieces, num_bytes)]
    if not entries:
        raise Problem("invalid-request", "the body holds no frames")
    before = None if parent is None else key_of(parent)
    until_s = math.inf if expires_at_s is None else expires_at_s
    put = await run_in_threadpool(context.service.put, owner, entries, before, ttl_s, durable, until_s)
    return answer_to_put(put)


@router.post("/touch", status_code=204, responses=responses(*ALWAYS))
async def touch(asked: KeyList, caller: CallerOf, context: ContextOf) -> None:
    """Note that these chunks were used: the last ages first."""
    context.service.touch(caller, _keys(asked.keys))


@router.post("/pin", responses=responses(*ALWAYS, "busy"))
async def pin(asked: PinRequest, caller: CallerOf, context: ContextOf) -> Held:
    """Keep a prompt's leading chunks from being dropped to make room, or no longer."""
    return Held(held=await run_in_threadpool(context.service.pin, caller, _keys(asked.keys), asked.pinned))


@router.post("/prefetch", status_code=202, responses=responses(*ALWAYS))
async def prefetch(asked: KeyList, caller: CallerOf, context: ContextOf) -> Accepted:
    """Copy frames to the fastest tier, in the background."""
    return Accepted(accepted=context.service.prefetch(caller, _keys(asked.keys)))


@router.post("/delete", responses=responses(*ALWAYS, "forbidden", "not-found", "busy"))
async def delete(asked: DeleteRequest, caller: CallerOf, context: ContextOf) -> DeleteAnswer:
    """Forget chunks, and all that lies behind them, for good: those named, or all that fit every filter given."""
    return await run_in_threadpool(_delete, asked, caller, context)


def _delete(asked: DeleteRequest, caller: Caller, context: Context) -> DeleteAnswer:
    filters = (asked.prefix, asked.tenant, asked.unused_for_s, asked.older_than_s)
    if asked.keys is None and not asked.everything and all(given is None for given in filters):
        raise Problem("invalid-request", "say which: keys, prefix, tenant, unused_for_s or older_than_s; or everything")
    if asked.keys is not None and any(given is not None for given in filters):
        raise Problem("invalid-request", "either keys or filters")
    tenant = None if asked.tenant is None else caller.acts_for(asked.tenant)
    now_s, service = time.time(), context.service
    wanted = EntryFilter(tenant, now_s - (asked.unused_for_s or -math.inf), now_s - (asked.older_than_s or -math.inf))
    if asked.keys is not None:
        doomed = service.selected(service.tree(caller), _keys(asked.keys), asked.pinned)
    else:
        doomed = service.select(caller, wanted, None if asked.prefix is None else key_of(asked.prefix), asked.pinned)
    if not asked.dry_run:
        service.delete(caller, [entry.key for entry in doomed])
    size_bytes = sum(entry.size_bytes for entry in doomed)
    return DeleteAnswer(chunks=len(doomed), size_bytes=size_bytes, deleted=not asked.dry_run)


@router.post("/quarantine", status_code=204, responses=responses(*ALWAYS, "not-found", "busy"))
async def quarantine(asked: QuarantineRequest, caller: CallerOf, context: ContextOf) -> None:
    """Take a frame out of service that was found damaged when it was read, for good."""
    if not await run_in_threadpool(context.service.quarantine, caller, key_of(asked.key), asked.reason):
        raise Problem("not-found", f"no chunk {asked.key} is held")
