"""HTTP/1.1 as uvicorn speaks it with httptools, for long bodies: handed over in large pieces instead of waking the
application for every 64 KiB, which takes most of the time of a frame's way in; and slow heads end.
"""

from __future__ import annotations

from asyncio import TimerHandle
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_PIECE_BYTES = 4 << 20
_HEAD_S = 20.0  # for a request's head to come, from its first byte or that of the connection


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._pieces: list[bytes] = []
        self._bytes = 0
        self._head_timer: TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_no_head()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._head_timer is None:
            self._expect_head()

    def on_headers_complete(self) -> None:
        self._expect_no_head()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self.cycle.response_complete:
            return
        self._pieces.append(body)
        self._bytes += len(body)
        if self._bytes >= _PIECE_BYTES:
            self._hand_over()
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        self._hand_over()
        super().on_message_complete()

    def _hand_over(self) -> None:
        """`receive` takes it from there, and has reading go on."""
        if self._pieces:
            self.cycle.body = b"".join((self.cycle.body, *self._pieces)) if self.cycle.body else b"".join(self._pieces)
            self.cycle.message_event.set()
        self._pieces, self._bytes = [], 0

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(_HEAD_S, self._end)

    def _expect_no_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _end(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
