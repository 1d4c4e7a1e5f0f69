"""What every route may ask for: the service, who calls, and room for a body."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import ClientDisconnect

from connectors.sidecar.callers import Caller, Tokens
from connectors.sidecar.limits import Bodies, Rates
from connectors.sidecar.problems import Problem
from connectors.sidecar.service import Service

_BODY_S, _SLOWEST_BYTES_PER_S = 20.0, 1 << 20
_BEARER = HTTPBearer(auto_error=False, description="A tenant's token, or the admin's.")


@dataclass
class Context:
    """What the application was made of."""

    service: Service
    tokens: Tokens
    rates: Rates
    bodies: Bodies
    draining: bool = False
    body_s: float = field(default=_BODY_S)
    """For a body to come, and a second more for each MiB of it."""


def context_of(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


async def caller_of(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
) -> Caller:
    """Raises Problem for who is not known, or asks too often."""
    context = context_of(request)
    on_this_host = request.client is None  # a Unix socket has no address
    peer = "this host" if request.client is None else request.client.host
    try:
        caller = context.tokens.caller(credentials.credentials if credentials else None, on_this_host)
    except Problem:
        context.rates.spend(f"unknown:{peer}")
        raise
    context.rates.spend(caller.name)
    return caller


CallerOf = Annotated[Caller, Depends(caller_of)]
ContextOf = Annotated[Context, Depends(context_of)]


@asynccontextmanager
async def body_of(request: Request, context: Context) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
    """The body's length, and its pieces as they come. Room is kept for it until the `with` is left.

    Raises Problem where the length is not said, too long, or the body slower than allowed.
    """
    length = request.headers.get("content-length")
    if length is None or not length.isascii() or not length.isdigit():
        raise Problem("length-required", "send Content-Length")
    num_bytes = int(length)
    with context.bodies.room(num_bytes):
        try:
            async with asyncio.timeout(context.body_s + num_bytes / _SLOWEST_BYTES_PER_S):
                yield num_bytes, request.stream()
        except TimeoutError as error:
            raise Problem("timeout", f"the body of {num_bytes} bytes did not come in time") from error
        except ClientDisconnect as error:
            raise Problem("invalid-request", "the body ended before its length") from error
