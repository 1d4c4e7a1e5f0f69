"""Elsewhere: what is answered at an address that there is not, to OpenAI clients too."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute

from connectors.proxy.openai_problems import openai_problem
from connectors.proxy.routes import router
from connectors.sidecar.problems import Problem

_ROUTES = [route for route in router.routes if isinstance(route, APIRoute)]
_THERE_ARE = ", ".join(f"{method} {route.path_format}" for route in _ROUTES for method in sorted(route.methods))
_MOST_PATH = 100


def install(app: FastAPI) -> None:
    """Has the application answer so where no route is."""

    @app.exception_handler(404)
    async def nowhere(request: Request, error: Exception) -> Response:
        path = request.url.path[:_MOST_PATH]
        detail = f"there is no {path}. Of OpenAI's API there are {_THERE_ARE}; see /openapi.json for all else"
        return openai_problem(Problem("not-found", detail))
