"""What every route may ask for: the service, who calls, and room for a body."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param
from starlette.requests import ClientDisconnect

from connectors.proxy.front import Front
from connectors.sidecar.callers import Caller, Tokens
from connectors.sidecar.history import History
from connectors.sidecar.limits import Bodies, Rates
from connectors.sidecar.loopback import names_this_host
from connectors.sidecar.problems import Problem
from connectors.sidecar.query import require_known
from connectors.sidecar.reports import Reports
from connectors.sidecar.service import Service
from connectors.sidecar.walks import Walks

_BODY_S, _SLOWEST_BYTES_PER_S = 20.0, 1 << 20
_MOST_ARCHIVE_BYTES = 64 << 30
_LONGEST_LENGTH = 20  # digits
_BEARER = HTTPBearer(auto_error=False, description="A tenant's token, or the admin's.")


@dataclass
class Context:
    """What the application was made of."""

    service: Service
    tokens: Tokens
    rates: Rates
    bodies: Bodies
    reports: Reports = field(default_factory=Reports)
    draining: bool = False
    under_way: int = 0
    """Requests, those of operations aside."""
    body_s: float = field(default=_BODY_S)
    """For a body to come, and a second more for each MiB of it."""
    archives: Bodies = field(default_factory=lambda: Bodies(_MOST_ARCHIVE_BYTES, _MOST_ARCHIVE_BYTES))
    """Room for what is imported, which goes to a file."""
    walks: Walks = field(default_factory=Walks)
    front: Front | None = None
    """Answers an OpenAI client's requests; without an upstream there is none."""
    begun_s: float = field(default_factory=time.monotonic)
    history: History = field(init=False)

    def __post_init__(self) -> None:
        self.history = History(self.service)


def context_of(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


async def _context_of(request: Request) -> Context:
    """A function that is not `async` would be called in another thread."""
    return context_of(request)


def known(tokens: Tokens, host: str | None, authorization: str | None, on_this_host: bool) -> Caller:
    """By these headers. Raises Problem for who is not. Where there are no tokens, pages from elsewhere are not."""
    if not (tokens or on_this_host or names_this_host(host)):
        raise Problem("forbidden", "without tokens this service is for localhost, by that name or its address")
    scheme, token = get_authorization_scheme_param(authorization)
    return tokens.caller(token if scheme.lower() == "bearer" and token else None, on_this_host)


def identified(request: Request, context: Context) -> Caller:
    """As `known`; who is not, is held to the limit of requests as well."""
    host, authorization = (request.headers.get(name) for name in ("host", "authorization"))
    try:
        return known(context.tokens, host, authorization, request.client is None)  # a Unix socket has no address
    except Problem:
        peer = "this host" if request.client is None else request.client.host
        context.rates.spend(f"unknown:{peer}")
        raise


def admitted(request: Request) -> Caller:
    """Raises Problem for who is not known, or asks too often."""
    context = context_of(request)
    caller = identified(request, context)
    request.state.caller = caller.name
    context.rates.spend(caller.name)
    return caller


async def caller_of(request: Request, described: Annotated[object, Depends(_BEARER)]) -> Caller:
    """As `admitted`, and raises for parameters that are not there. `described` is for the OpenAPI description."""
    caller = admitted(request)
    if request.scope["query_string"]:
        require_known(request)
    return caller


CallerOf = Annotated[Caller, Depends(caller_of)]
ContextOf = Annotated[Context, Depends(_context_of)]


def length_of(request: Request) -> int:
    """Bytes of the body; 0 where there is none. Raises Problem where one comes and its length is not said."""
    length = request.headers.get("content-length")
    if length is None and "transfer-encoding" not in request.headers:
        return 0
    if length is None or not length.isascii() or not length.isdigit() or len(length) > _LONGEST_LENGTH:
        raise Problem("length-required", "send Content-Length")
    return int(length)


def is_streamed(request: Request) -> bool:
    """Whether the body is read by `body_of`."""
    return bool(getattr(request.state, "streamed", False))


@asynccontextmanager
async def body_of(
    request: Request, context: Context, bodies: Bodies | None = None
) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
    """The body's length, and its pieces as they come. Room is kept for it until the `with` is left, among `bodies`.

    Raises Problem where the length is not said, too long, or the body slower than allowed.
    """
    if "content-length" not in request.headers:
        raise Problem("length-required", "send Content-Length")
    num_bytes, request.state.streamed = length_of(request), True
    with (bodies or context.bodies).room(num_bytes):
        try:
            async with asyncio.timeout(context.body_s + num_bytes / _SLOWEST_BYTES_PER_S):
                yield num_bytes, request.stream()
        except TimeoutError as error:
            raise Problem("timeout", f"the body of {num_bytes} bytes did not come in time") from error
        except ClientDisconnect as error:
            raise Problem("invalid-request", "the body ended before its length") from error
