"""Observed: what stands around every request. Its id, its line in the log, its numbers, and the end of the service."""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connectors.sidecar.context import Context
from connectors.sidecar.logs import REQUEST_ID
from connectors.sidecar.problems import CODES, Problem
from connectors.sidecar.prometheus import Instruments

_log = logging.getLogger("kvstore.requests")
_SANE = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_METHODS = {"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"}
_PROBES = {"/healthz", "/readyz", "/metrics"}
_CUT_OFF = 499
"""The status that is logged of a request whose answer nobody waited for."""


@dataclass
class Traffic:
    """What has gone both ways of one request."""

    status: int = _CUT_OFF
    bytes_in: int = 0
    bytes_out: int = 0


class Observed:
    """Middleware. `X-Request-Id` is the caller's where that is sane, and comes back with every answer."""

    def __init__(self, app: ASGIApp, context: Context, instruments: Instruments) -> None:
        self._app, self._context, self._instruments = app, context, instruments

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = id_of(scope["headers"])
        REQUEST_ID.set(request_id)  # a connection's requests have contexts of their own
        traffic, began_s = Traffic(), time.perf_counter()
        header = b"x-request-id", request_id.encode()

        async def counting() -> Message:
            message = await receive()
            traffic.bytes_in += len(message.get("body", b""))
            return message

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                traffic.status = message["status"]
                message["headers"] = [*message["headers"], header]
            else:
                traffic.bytes_out += len(message.get("body", b""))
            await send(message)

        is_probe = scope["path"] in _PROBES
        self._context.under_way += not is_probe
        try:
            await self._answer(scope, counting, sending, traffic, is_probe)
        finally:
            self._context.under_way -= not is_probe
            self._note(scope, traffic, time.perf_counter() - began_s, is_probe)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, traffic: Traffic, is_probe: bool) -> None:
        if self._context.draining and not is_probe:
            gone = Problem("draining", "send requests elsewhere: this service is about to end", {"Connection": "close"})
            await gone.response()(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except Exception:
            _log.exception("a request failed")
            if traffic.status != _CUT_OFF:
                raise  # the answer has begun: the connection ends, so that nobody takes it for whole
            await Problem("internal", CODES["internal"][1]).response()(scope, receive, send)

    def _note(self, scope: Scope, traffic: Traffic, seconds: float, is_probe: bool) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        route, caller = getattr(scope.get("route"), "path", "none"), scope.get("state", {}).get("caller", "")
        note(self._instruments, method, route, caller, traffic, seconds, logging.DEBUG if is_probe else logging.INFO)


def note(
    instruments: Instruments,
    method: str,
    route: str,
    caller: str,
    traffic: Traffic,
    seconds: float,
    level: int = logging.INFO,
) -> None:
    """A request was answered: its numbers, and its line in the log."""
    instruments.observe(method, route, traffic.status, seconds, traffic.bytes_in, traffic.bytes_out)
    if not _log.isEnabledFor(level):
        return
    ms = round(1000 * seconds, 3)
    fields = {
        "method": method,
        "route": route,
        "status": traffic.status,
        "ms": ms,
        "bytes_in": traffic.bytes_in,
        "bytes_out": traffic.bytes_out,
        "caller": caller,
    }
    said = method, route, traffic.status, ms
    record = logging.LogRecord(_log.name, level, "", 0, "%s %s %d in %g ms", said, None)
    record.fields = fields
    _log.handle(record)  # as `log` would, but for looking where it was called, which takes as long as all else


def id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The caller's where that is sane, or a new one."""
    given = dict(headers).get(b"x-request-id", b"")
    return str(given, "ascii") if _SANE.fullmatch(given) else f"{random.getrandbits(64):016x}"
