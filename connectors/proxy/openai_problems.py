"""Problems as OpenAI's clients read them too: an `error` beside what RFC 9457 has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from connectors.sidecar.problems import CODES, Problem, of_error
from kvstore import KVCacheError

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


def openai_problem(problem: Problem) -> JSONResponse:
    """The answer. Clients raise by its status, and repeat what the upstream may do better next time."""
    status, _ = CODES[problem.code]
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return problem.response(error={"message": problem.detail, "type": kind, "param": None, "code": problem.code})


async def or_openai_problem(answer: Awaitable[Response]) -> Response:
    """The answer, or why there is none."""
    try:
        return await answer
    except Problem as problem:
        return openai_problem(problem)
    except KVCacheError as error:
        return openai_problem(of_error(error))


class OpenAIRoute(APIRoute):
    """For a router's `route_class`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answered = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await or_openai_problem(answered(request))

        return handle
