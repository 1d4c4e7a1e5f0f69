"""The service at a glance: how full it is, what it counted, and how that came about. Walks over nothing."""

from __future__ import annotations

import time
from dataclasses import asdict
from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool

from connectors.sidecar.context import CallerOf, Context, ContextOf
from connectors.sidecar.history import EVERY_S, Sample
from connectors.sidecar.holding_schemas import HistoryBody, StatusAnswer, TierBody
from connectors.sidecar.problems import responses
from connectors.sidecar.transfer import directory_of
from kvstore import TierState

router = APIRouter(prefix="/v1", tags=["operations"])


@router.get(
    "/status",
    responses=responses("unauthorized", "invalid-request", "too-many-requests", "unavailable", "forbidden"),
)
async def status(
    caller: CallerOf,
    context: ContextOf,
    history: Annotated[bool, Query(description="With how it was in the last hour.")] = False,
) -> StatusAnswer:
    """How full the tiers are, and what was counted since the service began. For the admin: all tenants are in it."""
    caller.require_admin()
    return await run_in_threadpool(_status, context, history)


def _status(context: Context, with_history: bool) -> StatusAnswer:
    service = context.service
    directory = directory_of(service)
    return StatusAnswer(
        version=version("kvstore"),
        path=None if directory is None else str(directory),
        uptime_s=time.monotonic() - context.begun_s,
        tiers=[tier_body(state) for state in service.tiers.states()],
        waiting_bytes=service.behind.waiting_bytes,
        leases=len(service.leases),
        counters=service.metrics.snapshot(),
        keeps_answers=context.front is not None and context.front.answering is not None,
        history=history_body(context.history.samples()) if with_history else None,
    )


def tier_body(state: TierState) -> TierBody:
    return TierBody(**asdict(state), available=state.problem is None)


def history_body(samples: list[Sample]) -> HistoryBody:
    """Sample by sample, and of counters those alone that counted anything."""
    tiers = dict.fromkeys(name for sample in samples for name in sample.tiers)
    counted = dict.fromkeys(name for sample in samples for name, count in sample.counters.items() if count)
    return HistoryBody(
        every_s=EVERY_S,
        at_s=[round(sample.at_s, 3) for sample in samples],
        tiers={name: [sample.tiers.get(name) for sample in samples] for name in tiers},
        waiting_bytes=[sample.waiting_bytes for sample in samples],
        counters={name: [sample.counters.get(name) for sample in samples] for name in counted},
    )
