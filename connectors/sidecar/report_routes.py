"""What engines report of their reuse, and what all of them have reported."""

from __future__ import annotations

from fastapi import APIRouter

from connectors.sidecar.context import CallerOf, ContextOf
from connectors.sidecar.problems import responses
from connectors.sidecar.reports import RUNGS, EngineReport
from connectors.sidecar.schemas import EngineBody, ModelBody, ReportRequest, ReportsAnswer

router = APIRouter(prefix="/v1/reports", tags=["operations"])
_ALWAYS = ("unauthorized", "invalid-request", "too-many-requests")


@router.post("", status_code=204, responses=responses(*_ALWAYS))
async def report(given: ReportRequest, caller: CallerOf, context: ContextOf) -> None:
    """Say what an engine has counted since it started. Every few seconds is often enough."""
    context.reports.take(caller.acts_for(None), given.engine, given.model, given.counts)


@router.get("", responses=responses(*_ALWAYS))
async def reports(caller: CallerOf, context: ContextOf) -> ReportsAnswer:
    """What engines have reported: a tenant's own, or all."""
    sums = context.reports.by_model(caller.tenant)
    models = [
        ModelBody(model=model, rungs={rung: counts[name] for rung, name in RUNGS.items()}, counts=dict(counts))
        for model, counts in sorted(sums.items())
    ]
    return ReportsAnswer(engines=[_body(engine) for engine in context.reports.engines(caller.tenant)], models=models)


def _body(report: EngineReport) -> EngineBody:
    return EngineBody(
        engine=report.engine,
        model=report.model,
        tenant=report.owner,
        reported_at_s=report.at_s,
        counts=dict(report.counts),
    )
