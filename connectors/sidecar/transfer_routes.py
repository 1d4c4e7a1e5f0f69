"""All that is held, or some of it: verified, exported, and imported from elsewhere."""

from __future__ import annotations

import errno
import json
import time
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from connectors.archives.importing import imported_as_json
from connectors.inspection.choice import Choice, chosen
from connectors.inspection.holdings import NotHeld
from connectors.sidecar.context import CallerOf, Context, ContextOf, body_of
from connectors.sidecar.holding_schemas import Digits, ImportAnswer
from connectors.sidecar.problems import ALWAYS, OF_BODIES, Problem, responses
from connectors.sidecar.schemas import Tenant
from connectors.sidecar.transfer import archive_of, import_from, room_for_spool, spool, verified
from connectors.sidecar.view import View
from kvstore import ChunkTree, Entry

router = APIRouter(prefix="/v1", tags=["transfer"])
_ZIP, _LINES = "application/zip", "application/x-ndjson"
_ARCHIVE = {_ZIP: {"schema": {"type": "string", "format": "binary"}}}
_VERDICTS = {_LINES: {"schema": {"type": "string", "description": "One JSON object a line."}}}


@router.post(
    "/verify",
    response_class=StreamingResponse,
    responses={
        200: {"description": "What is damaged, and at last the sums.", "content": _VERDICTS},
        **responses(*ALWAYS),
    },
)
async def verify(
    caller: CallerOf,
    context: ContextOf,
    repair: Annotated[bool, Query(description="Drop what is damaged from the tier that it is in.")] = False,
) -> StreamingResponse:
    """Check every copy of every frame: a line for each that is damaged, one a second that says how far it is, and a
    last one, with `done`, that has the sums. Without that one it was not finished.
    """
    lines = (json.dumps(found).encode() + b"\n" for found in verified(context.service, caller, repair))
    return StreamingResponse(lines, media_type=_LINES)


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={
        200: {"description": "An archive: a zip of frames and a manifest.", "content": _ARCHIVE},
        **responses(*ALWAYS, "forbidden", "not-found"),
    },
)
async def export(
    caller: CallerOf,
    context: ContextOf,
    tenant: Annotated[Tenant | None, Query(description="Only chunks of this tenant.")] = None,
    prefix: Annotated[
        Digits | None, Query(description="Only this chunk, by its first digits, and all behind it.")
    ] = None,
    model: Annotated[
        str | None, Query(max_length=1024, description="Only chunks of models with this in their name.")
    ] = None,
) -> StreamingResponse:
    """The chunks that fit every filter, and those before them, as `kvstore export` writes them. One without a manifest
    was not finished. Damaged frames are left out, and named there.
    """
    view = View(context.service.tiers, caller)
    choice = Choice(None if tenant is None else caller.acts_for(tenant), model, prefix)
    entries = await context.walks.now(_chosen, view, choice)
    headers = {"Content-Disposition": 'attachment; filename="kvstore.kv.zip"'}
    return StreamingResponse(archive_of(view, entries), headers=headers, media_type=_ZIP)


def _chosen(view: View, choice: Choice) -> list[Entry]:
    tree = ChunkTree(view.entries())
    try:
        keys = chosen(view, tree, choice, time.time())
    except NotHeld as error:
        raise Problem("not-found", str(error)) from error
    return list(tree.prefix_first(tree.with_all_before(keys)))


@router.post(
    "/import",
    responses=responses(*ALWAYS, *OF_BODIES, "no-room"),
    openapi_extra={"requestBody": {"required": True, "content": _ARCHIVE}},
)
async def import_chunks(request: Request, caller: CallerOf, context: ContextOf) -> ImportAnswer:
    """Take the caller's chunks of an archive, each verified; what is skipped is named. Room is made as for any put.

    That a frame holds the KV of the tokens its key stands for cannot be checked: import only archives of those you
    would take the model from.
    """
    with spool(context.service) as file:
        await _receive(request, context, file)
        imported = await run_in_threadpool(import_from, context.service, caller, file, context.bodies.most_bytes)
    return ImportAnswer.model_validate(imported_as_json(imported))


async def _receive(request: Request, context: Context, file: BinaryIO) -> None:
    """The body, in the file. Raises Problem when it does not fit."""
    async with body_of(request, context, context.archives) as (num_bytes, pieces):
        if num_bytes > room_for_spool(context.service):
            raise Problem("no-room", f"{num_bytes} bytes do not fit beside the store while they are checked")
        received = 0
        try:
            async for piece in pieces:
                received += await run_in_threadpool(file.write, piece)
            await run_in_threadpool(file.flush)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise Problem("no-room", f"{num_bytes} bytes do not fit beside the store while they are checked") from error
    if received != num_bytes:
        raise Problem("invalid-request", f"{received} bytes came of {num_bytes}")
