"""Routes whose usual requests are taken by hand.

FastAPI looks at each parameter for itself, which takes longer than having a frame of a memory tier sent. An endpoint
that is asked thousands of times a second says how to take the requests that everybody sends; whatever else is asked,
sound or not, is FastAPI's, and so are the description and the problems.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute

Take = Callable[[Request], Awaitable[Response | None]]
"""Answers a request as the endpoint does, or leaves it, with all of its body that was read, by returning None."""
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
_TAKES: dict[Callable[..., Any], Take] = {}


def usually(take: Take) -> Callable[[Endpoint], Endpoint]:
    """Has `take` look at the endpoint's requests first."""

    def noted(endpoint: Endpoint) -> Endpoint:
        _TAKES[endpoint] = take
        return endpoint

    return noted


class UsualRoute(APIRoute):
    """For a router's `route_class`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        any_request, take = super().get_route_handler(), _TAKES.get(self.endpoint)
        if take is None:
            return any_request

        async def handle(request: Request) -> Response:
            answer = await take(request)
            return await any_request(request) if answer is None else answer

        return handle
