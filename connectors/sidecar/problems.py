"""Problems: what is answered when something is not done, as RFC 9457 has it, each with a stable code."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route

from connectors.sidecar.logs import REQUEST_ID
from kvstore import CorruptFrame, InvalidRequest, KVCacheError, TierUnavailable

MEDIA_TYPE = "application/problem+json"
CODES: Mapping[str, tuple[int, str]] = {
    "malformed": (400, "what came is no HTTP/1.1 request"),
    "unauthorized": (401, "a token is needed, and none was given or it is not known"),
    "forbidden": (403, "this token does not allow that"),
    "not-found": (404, "nothing of that name is held"),
    "no-upstream": (404, "this service is no proxy: it was given no upstream"),
    "no-cache": (404, "this service keeps no answers"),
    "method-not-allowed": (405, "this address does not take that method"),
    "timeout": (408, "the request did not come within its time"),
    "out-of-service": (410, "the frame was damaged, and taken out of service"),
    "length-required": (411, "the request must say how long its body is"),
    "too-large": (413, "the body is longer than this service takes"),
    "bad-range": (416, "no such range of bytes or layers"),
    "invalid-request": (422, "the request makes no sense"),
    "checksum-mismatch": (422, "the body is not what its checksum says"),
    "corrupt-frame": (422, "the body is no frame of that key"),
    "too-many-requests": (429, "too many requests: come back later"),
    "head-too-large": (431, "the request's head is longer than this service takes"),
    "internal": (500, "something went wrong here: the log has it, under the request's id"),
    "upstream-failed": (502, "the upstream did not answer, or not to the end"),
    "unavailable": (503, "the store cannot do that now"),
    "busy": (503, "too much is under way"),
    "draining": (503, "the service is about to end"),
    "upstream-timeout": (504, "the upstream did not answer in time"),
    "not-cached": (504, "no answer is held, and none was to be computed"),
    "no-room": (507, "the store did not take it: it does not fit, or no tier works"),
}
"""Every code there is: its HTTP status and what it means."""
ALWAYS = ("unauthorized", "invalid-request", "too-many-requests", "unavailable")
"""What any route over the store may answer."""
OF_BODIES = ("timeout", "length-required", "too-large", "busy")
"""And one that takes a body."""
_OF_STATUS = {404: "not-found", 405: "method-not-allowed", 411: "length-required", 413: "too-large"}


class Problem(Exception):
    """Ends a request with one of CODES."""

    def __init__(self, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.code, self.detail, self.headers = code, detail, dict(headers or {})

    def response(self, **more: Any) -> JSONResponse:
        status, _ = CODES[self.code]
        title = HTTPStatus(status).phrase
        body = {"type": f"urn:kvstore:problem:{self.code}", "title": title, "status": status, "code": self.code}
        named = {"detail": self.detail, "request_id": REQUEST_ID.get()}
        return JSONResponse({**body, **named, **more}, status, self.headers, MEDIA_TYPE)


def of_error(error: KVCacheError) -> Problem:
    """What the store raised, as an answer."""
    if isinstance(error, CorruptFrame):
        return Problem("corrupt-frame", str(error))
    if isinstance(error, InvalidRequest):
        return Problem("invalid-request", str(error))
    if isinstance(error, TierUnavailable):
        return Problem("unavailable", str(error), {"Retry-After": "1"})
    return Problem("invalid-request", str(error))


def install(app: FastAPI) -> None:
    """Has every error answered as a problem that the application expects; `observed` answers the others."""

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> JSONResponse:
        return error.response()

    @app.exception_handler(KVCacheError)
    async def of_store(request: Request, error: KVCacheError) -> JSONResponse:
        return of_error(error).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        wrong = [{"at": ".".join(map(str, each["loc"])), "problem": each["msg"]} for each in error.errors()]
        detail = "; ".join(f"{each['at']}: {each['problem']}" for each in wrong[:3])
        return Problem("invalid-request", detail).response(errors=wrong)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error.__cause__, Problem):  # met while a body was read
            return error.__cause__.response()
        code = _OF_STATUS.get(error.status_code, "invalid-request" if error.status_code < 500 else "internal")
        headers = {"Allow": ", ".join(_allowed(request))} if error.status_code == 405 else error.headers
        return Problem(code, str(error.detail), headers).response()


def _allowed(request: Request) -> list[str]:
    """The methods that some route takes at the address that was asked for."""
    here = (route for route in request.app.routes if isinstance(route, Route) and _is_at(route, request.scope["path"]))
    return sorted({method for route in here for method in route.methods or ()})


def _is_at(route: Route, path: str) -> bool:
    return route.path_regex.match(path) is not None


def responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: the problems it may answer with."""
    schema = {"$ref": "#/components/schemas/ProblemBody"}
    found: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        status, meaning = CODES[code]
        before = found.get(status, {}).get("description")
        described = f"`{code}`: {meaning}"
        description = f"{before}; {described}" if before else described
        found[status] = {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}
    return found
