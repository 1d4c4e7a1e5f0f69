"""Traces: where OpenTelemetry's own variables name a collector, every request is a span there. Else nothing is sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import environ as _environ

from fastapi import FastAPI

from kvstore import InvalidRequest

_COLLECTORS = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_NOT_TRACED = "/healthz$,/readyz$,/metrics$"


@contextmanager
def traced(app: FastAPI, environ: Mapping[str, str] = _environ) -> Iterator[None]:
    """Until the `with` is left, which sends what was not sent yet.

    Raises InvalidRequest where a collector is named and the packages are missing that know how to tell it.
    """
    named = next((variable for variable in _COLLECTORS if environ.get(variable)), None)
    if named is None:
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise InvalidRequest(f"{named} is set, and {error.name} is missing: pip install 'kvstore[otel]'") from error
    name = {} if environ.get("OTEL_SERVICE_NAME") else {"service.name": "kvstore"}
    provider = TracerProvider(resource=Resource.create(name))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    app.state.lane = None  # what does not come by the application is no span
    FastAPIInstrumentor.instrument_app(
        app, tracer_provider=provider, excluded_urls=_NOT_TRACED, exclude_spans=["receive", "send"]
    )
    try:
        yield
    finally:
        provider.shutdown()
