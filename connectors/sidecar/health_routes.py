"""Whether the service lives, and whether it takes requests: for whoever starts, stops and balances it."""

from __future__ import annotations

from fastapi import APIRouter

from connectors.sidecar.context import ContextOf
from connectors.sidecar.problems import Problem, responses
from connectors.sidecar.schemas import Status

router = APIRouter(tags=["operations"])


@router.get("/healthz")
async def healthz() -> Status:
    """The process answers."""
    return Status(status="alive")


@router.get("/readyz", responses=responses("draining"))
async def readyz(context: ContextOf) -> Status:
    """Requests are welcome."""
    if context.draining:
        raise Problem("draining", "send requests elsewhere: this service is about to end")
    return Status(status="ready")
