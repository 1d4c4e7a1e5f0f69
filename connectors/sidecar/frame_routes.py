"""One frame by its key: its bytes, all or some layers of them, and what is remembered of it."""

from __future__ import annotations

import math
import re
from typing import Annotated

import xxhash
from fastapi import APIRouter, Header, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from codec import FrameHeader, read_header
from connectors.sidecar.checked_body import CHECKSUM, Checksum, checked_body
from connectors.sidecar.context import CallerOf, ContextOf, admitted, context_of
from connectors.sidecar.problems import ALWAYS, OF_BODIES, Problem, responses
from connectors.sidecar.schemas import PutAnswer, Tenant
from connectors.sidecar.service import Put, key_of
from connectors.sidecar.usual_route import UsualRoute, usually
from kvstore import Entry

router = APIRouter(prefix="/v1/frames", tags=["frames"], route_class=UsualRoute)
KeyPath = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="The chunk's key: 64 hex digits.")]
_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{0,15})", re.ASCII)
_LAYERS = r"^[0-9]{1,5}:[0-9]{1,5}$"
_FRAME = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
KEY = re.compile("[0-9a-f]{64}")
_USUAL_GET = re.compile(b"|touch=(?:true|false)")
_USUAL_PUT = re.compile(b"(?:parent=([0-9a-f]{64})(?:&|$))?(?:durable=(true|false))?")


async def _usual_get(request: Request) -> Response | None:
    key, query = request.path_params["key"], _USUAL_GET.fullmatch(request.scope["query_string"])
    if query is None or KEY.fullmatch(key) is None or "range" in request.headers:
        return None
    caller = admitted(request)
    return await get_frame(key, caller, context_of(request), touch=query[0] != b"touch=false")


@router.get(
    "/{key}",
    response_class=Response,
    responses={
        200: {"description": "The frame: a safetensors file.", "content": _FRAME},
        206: {"description": "The bytes, or the layers' bytes, that were asked for.", "content": _FRAME},
        **responses(*ALWAYS, "not-found", "bad-range"),
    },
)
@usually(_usual_get)
async def get_frame(
    key: KeyPath,
    caller: CallerOf,
    context: ContextOf,
    layers: Annotated[
        str | None, Query(pattern=_LAYERS, description="Only those layers: `first:end`, end not included.")
    ] = None,
    range_: Annotated[str | None, Header(alias="Range", description="Only those bytes: `bytes=first-last`.")] = None,
    touch: Annotated[bool, Query(description="Whether that counts as a use.")] = True,
) -> Response:
    """The frame's bytes. `Kvstore-Xxh3` is their XXH3-128: whoever reads checks it."""
    chunk = key_of(key)
    frame = context.service.at_hand(caller, chunk)
    if frame is None:
        frame = await run_in_threadpool(context.service.get, caller, chunk)
    context.service.metrics.count("frames_missed" if frame is None else "frames_given")
    if frame is None:
        raise Problem("not-found", f"no chunk {key} is held")
    if touch:
        context.service.touch(caller, [chunk])
    total, headers = len(frame), {}
    if layers is not None:
        frame, first, headers["Kvstore-Layers"] = _of_layers(frame, layers)
    elif range_ is not None:
        frame, first = _of_range(frame, range_)
    else:
        first = -1
    if first >= 0:
        headers["Content-Range"] = f"bytes {first}-{first + len(frame) - 1}/{total}"
    headers["Kvstore-Xxh3"] = xxhash.xxh3_128_hexdigest(frame)
    return Response(frame, 206 if first >= 0 else 200, headers, "application/octet-stream")


@router.head("/{key}", response_class=Response, responses=responses(*ALWAYS, "not-found"))
async def head_frame(key: KeyPath, caller: CallerOf, context: ContextOf) -> Response:
    """What is remembered of the frame, in headers. Counts as no use."""
    entry = context.service.entry(caller, key_of(key))
    if entry is None:
        raise Problem("not-found", f"no chunk {key} is held")
    return Response(headers=_entry_headers(entry), media_type="application/octet-stream")


async def usual_put(request: Request) -> Response | None:
    """Answers a put as nearly all are; None, with nothing read of its body, where it is another one."""
    key, query = request.path_params["key"], _USUAL_PUT.fullmatch(request.scope["query_string"])
    checksum = request.headers.get("kvstore-xxh3", "")
    if query is None or KEY.fullmatch(key) is None or re.fullmatch(CHECKSUM, checksum) is None:
        return None
    parent, durable = query[1], query[2] == b"true"
    caller = admitted(request)
    before = None if parent is None else parent.decode()
    answer = await put_frame(key, request, caller, context_of(request), checksum, before, durable=durable)
    return Response(answer.model_dump_json(), 201, media_type="application/json")


@router.put(
    "/{key}",
    status_code=201,
    responses=responses(*ALWAYS, *OF_BODIES, "forbidden", "checksum-mismatch", "corrupt-frame", "no-room"),
    openapi_extra={"requestBody": {"required": True, "content": _FRAME}},
)
async def put_frame(
    key: KeyPath,
    request: Request,
    caller: CallerOf,
    context: ContextOf,
    checksum: Checksum,
    parent: Annotated[
        str | None,
        Query(pattern="^[0-9a-f]{64}$", description="The chunk before it in its prompt; none for a first one."),
    ] = None,
    tenant: Annotated[Tenant | None, Query(description="Whose it is: the token's own where absent.")] = None,
    ttl_s: Annotated[float, Query(ge=0, le=10**10, description="How long it is kept at most; 0: for ever.")] = 0.0,
    durable: Annotated[bool, Query(description="Answer when it outlives a loss of power, or not at all.")] = False,
) -> PutAnswer:
    """Keep a frame. Its checksum and its header are checked before it is acknowledged."""
    chunk, before = key_of(key), None if parent is None else key_of(parent)
    owner = caller.acts_for(tenant)
    body = await checked_body(request, context, checksum)
    put = None if durable else context.service.put_at_hand(owner, chunk, body, before, ttl_s)
    if put is None:
        put = await run_in_threadpool(context.service.put, owner, [(chunk, body)], before, ttl_s, durable)
    return answer_to_put(put)


@router.delete("/{key}", status_code=204, responses=responses(*ALWAYS, "not-found", "busy"))
async def delete_frame(key: KeyPath, caller: CallerOf, context: ContextOf) -> None:
    """Forget one frame, for good. What lies behind it stays, and nobody gets there: see `/v1/delete`."""
    if not await run_in_threadpool(context.service.delete, caller, [key_of(key)]):
        raise Problem("not-found", f"no chunk {key} is held")


def answer_to_put(put: Put) -> PutAnswer:
    """Raises Problem when nothing was stored."""
    if not put.stored:
        raise Problem("no-room", "no tier took it: it does not fit, its tenant's quota is full, or a tier failed")
    return PutAnswer(stored=put.stored, durable=put.durable)


def _entry_headers(entry: Entry) -> dict[str, str]:
    terms = entry.terms
    return {
        "Content-Length": str(entry.size_bytes),
        "Kvstore-Parent": str(entry.parent) if entry.parent else "",
        "Kvstore-Pinned": str(entry.pinned).lower(),
        "Kvstore-Hits": str(entry.hits),
        "Kvstore-Saved-At": repr(entry.saved_at_s),
        "Kvstore-Used-At": repr(entry.used_at_s),
        "Kvstore-Expires-At": "" if terms.expires_at_s == math.inf else repr(terms.expires_at_s),
    }


def _of_range(frame: memoryview, text: str) -> tuple[memoryview, int]:
    """The bytes of a `Range` header, and where they begin."""
    found = _RANGE.fullmatch(text)
    if found is None:
        raise Problem("bad-range", f"{text[:50]!r}: one range, as in bytes=0-4095")
    first, last = int(found[1]), int(found[2] or len(frame) - 1)
    if not first <= last or first >= len(frame):
        headers = {"Content-Range": f"bytes */{len(frame)}"}
        raise Problem("bad-range", f"the frame is {len(frame)} bytes long", headers)
    return frame[first : last + 1], first


def _of_layers(frame: memoryview, text: str) -> tuple[memoryview, int, str]:
    """The bytes from the first to the last of these layers' sections, where they begin, and which layers they are of.

    Most codecs have nothing between them; `transform` has what is small of every layer first.
    """
    first, end = (int(number) for number in text.split(":"))
    header = read_header(frame)
    spans, covered = _sections_of(header, first, end)
    start, stop = min(start for start, _ in spans), max(stop for _, stop in spans)
    return frame[start:stop], start, covered


def _sections_of(header: FrameHeader, first: int, end: int) -> tuple[list[tuple[int, int]], str]:
    """Where the sections lie that decode these layers: codecs may code several together, named by the first one."""
    num_layers = header.spec.num_layers
    if not 0 <= first < end <= num_layers:
        raise Problem("bad-range", f"the frame has layers 0:{num_layers}")
    of_section = {name: int(name.split(".", 1)[0]) for name in header.sections}
    bands = sorted(set(of_section.values()))
    begins = max(band for band in bands if band <= first)
    ends = min((band for band in bands if band >= end), default=num_layers)
    sections = [header.sections[name] for name, band in of_section.items() if begins <= band < ends]
    return [(section.start, section.end) for section in sections], f"{begins}:{ends}"
