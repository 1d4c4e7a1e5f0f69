"""Intake: what it takes for a body to be read: a token that is known, a length that is said, and coming in time."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connectors.sidecar.context import Context, identified, is_streamed, length_of
from connectors.sidecar.problems import Problem

MOST_JSON_BYTES = 2 << 20
_WITH_BODIES = ("POST", "PUT", "PATCH", "DELETE")


class Intake:
    """Around an application, which may ask for bodies before it knows whose they are. What `body_of` reads has its own
    limits.
    """

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app, self._context = app, context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in _WITH_BODIES:
            await self._app(scope, receive, send)
            return
        with ExitStack() as room:
            body = _Body(Request(scope, receive), self._context, room)
            await self._app(scope, body.receive, send)


class _Body:
    def __init__(self, request: Request, context: Context, room: ExitStack) -> None:
        self._request, self._context, self._room = request, context, room
        self._ends_s: float | None = None
        self._complete = False

    async def receive(self) -> Message:
        if self._complete or is_streamed(self._request):
            return await self._request.receive()
        if self._ends_s is None:
            self._ends_s = asyncio.get_running_loop().time() + self._begin()
        try:
            async with asyncio.timeout_at(self._ends_s):
                message = await self._request.receive()
        except TimeoutError as error:
            raise Problem("timeout", "the body did not come in time") from error
        self._complete = not message.get("more_body", False)
        return message

    def _begin(self) -> float:
        """Seconds that the body may take. Raises Problem where nobody wants it."""
        num_bytes = length_of(self._request)
        if num_bytes:
            identified(self._request, self._context)
            if num_bytes > MOST_JSON_BYTES:
                raise Problem("too-large", f"{num_bytes} bytes; at most {MOST_JSON_BYTES} are taken here")
            self._room.enter_context(self._context.bodies.room(num_bytes))
        return self._context.body_s
