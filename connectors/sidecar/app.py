"""The application: routes put together. Nothing is opened here, and nothing runs yet."""

from __future__ import annotations

from fastapi import FastAPI

from connectors.proxy import answer_routes, elsewhere
from connectors.proxy import routes as proxy_routes
from connectors.sidecar import (
    entry_routes,
    frame_routes,
    health_routes,
    holding_routes,
    metrics_routes,
    page_routes,
    problems,
    profile_routes,
    prompt_routes,
    report_routes,
    status_routes,
    transfer_routes,
)
from connectors.sidecar.context import Context
from connectors.sidecar.intake import Intake
from connectors.sidecar.lane import Lane
from connectors.sidecar.observed import Observed
from connectors.sidecar.prometheus import Instruments
from connectors.sidecar.schemas import ProblemBody
from connectors.sidecar.shortcut import Shortcut

_DESCRIPTION = """KV caches of prompts, kept and given back by chunk: see the README.

A frame is one encoded chunk; its key is its address. `match` says how many of a prompt's leading chunks are held.
Whoever shares this host reads frames where they lie (`descriptors`); others get their bytes. All is checked
by whoever receives it: `Kvstore-Xxh3` is the XXH3-128 of a body. Errors are `application/problem+json`, and their
`code` does not change.

With an upstream, OpenAI clients find their API here: chat completions, raw completions, embeddings and models. Each
answer says in `x-kvstore-cache` whether it was a `hit`, a `miss` or a `bypass` of the cache, and in
`x-kvstore-cache-why` for what reason; a caller says in `Cache-Control` and `x-kvstore-*` headers what may be answered
from before, and what is kept."""


def create_app(context: Context) -> FastAPI:
    """The service's application. The context's service is closed by whoever opened it."""
    app = FastAPI(title="kvstore sidecar", version="1", description=_DESCRIPTION, docs_url=None, redoc_url=None)
    app.router.redirect_slashes = False
    app.state.context = context
    app.add_middleware(Intake, context=context)
    app.add_middleware(Shortcut)
    app.state.instruments = Instruments(context)
    app.state.lane = Lane(context, app.state.instruments)
    app.add_middleware(Observed, context=context, instruments=app.state.instruments)
    problems.install(app)
    elsewhere.install(app)
    operations = health_routes, metrics_routes, report_routes, status_routes
    for routes in (  # looked through one by one: the most asked first
        frame_routes,
        prompt_routes,
        proxy_routes,
        *operations,
        holding_routes,
        transfer_routes,
        answer_routes,
        entry_routes,
        profile_routes,
        page_routes,
    ):
        app.include_router(routes.router)
    _describe_problems(app)
    return app


def _describe_problems(app: FastAPI) -> None:
    """What problems look like, in the OpenAPI description; FastAPI's own shape of errors, which nobody sees, goes."""
    describe = app.openapi

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            described = describe()
            schemas = described.setdefault("components", {}).setdefault("schemas", {})
            schemas["ProblemBody"] = ProblemBody.model_json_schema()
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
