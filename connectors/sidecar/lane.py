"""The lane: whole frames that lie in memory, got in the usual way, are answered as soon as their requests are read.

An application's way from a request's head to its answer takes as long as it takes to send a MiB. What is asked in any
other way, is not at hand or not allowed, goes that way, which says why.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import xxhash

from connectors.sidecar.callers import Caller
from connectors.sidecar.context import Context, known
from connectors.sidecar.logs import REQUEST_ID
from connectors.sidecar.observed import Traffic, id_of, note
from connectors.sidecar.problems import Problem
from connectors.sidecar.prometheus import Instruments
from kvstore import ChunkKey, KVCacheError

_TARGET = re.compile(rb"/v1/frames/([0-9a-f]{64})(?:\?touch=(true|false))?")
_NEVER = {b"range", b"content-length", b"transfer-encoding", b"expect"}
_ROUTE = "/v1/frames/{key}"
_STATUS = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n"

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Ready:
    """An answer, and what is still to be noted when it was sent."""

    head: bytes
    frame: memoryview
    key: ChunkKey
    caller: Caller
    request_id: str
    touches: bool
    began_s: float


class Lane:
    """Of one application. The event loop's alone."""

    def __init__(self, context: Context, instruments: Instruments) -> None:
        self._context, self._instruments = context, instruments

    def ready(self, target: bytes, headers: Headers, over_unix: bool, always: Headers) -> Ready | None:
        """What a GET is answered with, `always` among its headers; None where the application is to be asked."""
        began_s, asked = time.perf_counter(), _TARGET.fullmatch(target)
        if asked is None or self._context.draining or self._context.rates.are_limited:
            return None
        given = dict(headers)
        caller = None if _NEVER & given.keys() or len(given) < len(headers) else self._caller(given, over_unix)
        if caller is None:
            return None
        key = ChunkKey(bytes.fromhex(asked[1].decode()))
        try:
            frame = self._context.service.at_hand(caller, key)
        except KVCacheError:
            return None
        if frame is None:
            return None
        request_id = id_of(headers)
        lines = [
            *always,
            (b"content-length", b"%d" % len(frame)),
            (b"kvstore-xxh3", xxhash.xxh3_128_hexdigest(frame).encode()),
            (b"x-request-id", request_id.encode()),
        ]
        head = _STATUS + b"".join(name + b": " + value + b"\r\n" for name, value in lines) + b"\r\n"
        return Ready(head, frame, key, caller, request_id, asked[2] != b"false", began_s)

    def _caller(self, headers: dict[bytes, bytes], over_unix: bool) -> Caller | None:
        given = (headers.get(name) for name in (b"host", b"authorization"))
        host, authorization = (None if header is None else header.decode("latin-1") for header in given)
        try:
            return known(self._context.tokens, host, authorization, over_unix)
        except Problem:
            return None

    def sent(self, ready: Ready) -> None:
        """Notes what the application would have."""
        service = self._context.service
        service.metrics.count("frames_given")
        if ready.touches:
            service.touch(ready.caller, [ready.key])
        traffic = Traffic(200, 0, len(ready.frame))
        about = REQUEST_ID.set(ready.request_id)
        note(self._instruments, "GET", _ROUTE, ready.caller.name, traffic, time.perf_counter() - ready.began_s)
        REQUEST_ID.reset(about)
