"""What is remembered of frames: of one, of some, or of all that the caller sees."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from connectors.sidecar.context import CallerOf, Context, ContextOf
from connectors.sidecar.frame_routes import KeyPath
from connectors.sidecar.problems import ALWAYS, Problem, responses
from connectors.sidecar.schemas import EntryBody, KeyList
from connectors.sidecar.service import key_of
from kvstore import ChunkKey, Entry

router = APIRouter(prefix="/v1/entries", tags=["entries"])
MEDIA_TYPE = "application/x-ndjson"
_AT_ONCE = 500  # lines in one piece of an answer
_LINES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One entry a line, as JSON.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "description": "Lines of EntryBody."}}},
    }
}


@router.get("", response_class=StreamingResponse, responses={**_LINES, **responses(*ALWAYS)})
async def list_entries(caller: CallerOf, context: ContextOf) -> StreamingResponse:
    """Every frame that the caller sees, in no particular order."""
    entries = (entry for entry in context.service.tiers.entries() if caller.sees(entry))
    return StreamingResponse(_lines(entries), media_type=MEDIA_TYPE)


@router.post("/read", response_class=StreamingResponse, responses={**_LINES, **responses(*ALWAYS)})
async def read_entries(asked: KeyList, caller: CallerOf, context: ContextOf) -> StreamingResponse:
    """Those of these chunks that are held, in the order of their keys."""
    found = (context.service.entry(caller, key_of(key)) for key in asked.keys)
    return StreamingResponse(_lines(entry for entry in found if entry is not None), media_type=MEDIA_TYPE)


@router.get("/{key}", responses=responses(*ALWAYS, "not-found", "out-of-service"))
async def get_entry(key: KeyPath, caller: CallerOf, context: ContextOf) -> EntryBody:
    """What is remembered of a frame. Counts as no use."""
    chunk = key_of(key)
    entry = context.service.entry(caller, chunk)
    if entry is not None:
        return body_of_entry(entry)
    reason = await run_in_threadpool(_rejection, context, chunk) if caller.is_admin else None
    if reason is not None:
        raise Problem("out-of-service", reason)
    raise Problem("not-found", f"no chunk {key} is held")


def body_of_entry(entry: Entry) -> EntryBody:
    """As JSON has it."""
    return EntryBody(
        key=str(entry.key),
        size_bytes=entry.size_bytes,
        parent=None if entry.parent is None else str(entry.parent),
        tenant=entry.terms.tenant,
        pinned=entry.pinned,
        saved_at_s=entry.saved_at_s,
        used_at_s=entry.used_at_s,
        expires_at_s=None if entry.terms.expires_at_s == math.inf else entry.terms.expires_at_s,
        hits=entry.hits,
    )


def _rejection(context: Context, key: ChunkKey) -> str | None:
    reasons = (tier.rejection(key) for tier in context.service.tiers.tiers)
    return next((reason for reason in reasons if reason is not None), None)


def _lines(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Many lines at once: each piece is another thread's turn."""
    entries = iter(entries)
    while some := list(islice(entries, _AT_ONCE)):
        yield b"".join(body_of_entry(entry).model_dump_json().encode() + b"\n" for entry in some)
