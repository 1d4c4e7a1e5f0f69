"""Numbers for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.concurrency import run_in_threadpool

from connectors.sidecar.context import CallerOf
from connectors.sidecar.problems import responses
from connectors.sidecar.prometheus import Instruments

router = APIRouter(tags=["operations"])
_TEXT = {"text/plain": {"schema": {"type": "string"}}}


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"description": "Prometheus' text format.", "content": _TEXT},
        **responses("unauthorized", "forbidden", "too-many-requests"),
    },
)
async def metrics(request: Request, caller: CallerOf) -> Response:
    """What was counted and measured, of all tenants together."""
    caller.require_admin()
    instruments: Instruments = request.app.state.instruments
    return Response(await run_in_threadpool(instruments.text), media_type=CONTENT_TYPE_PLAIN_0_0_4)
