"""HTTP/1.1 as uvicorn speaks it with httptools, for long bodies and for whoever means no good.

Long bodies go past the parser, into memory of their own, and wake the application when they are there: handed over by
64 KiB they would be copied three times, which takes most of the time of a frame's way in. What is no request is
answered with a problem. Heads have a length and a time; so has the rest of a body that was declined, and so have
answers that nobody takes. Who has sent all and closed its half is answered.
"""

from __future__ import annotations

from asyncio import TimerHandle
from typing import Any

import httptools
from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from connectors.sidecar.joined import Joined
from connectors.sidecar.long_body import LONG_BYTES, LongBody
from connectors.sidecar.problems import Problem

_MOST_HEAD_BYTES = 64 << 10
_HEAD_S = 20.0  # for a request's head to come, from its first byte or that of the connection
_REST_S = 5.0  # for the rest of a body that is not wanted: closing at once would lose the answer that says so
_TAKEN_S, _TAKEN_BYTES = 20.0, 1 << 20  # of an answer that does not fit into the socket: what must go in that time


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._in_body = False
        self._head_bytes = 0
        self._long: LongBody | None = None
        self._past_parser = self._at_once = False
        self._coming: TimerHandle | None = None
        self._going: TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect(_HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        self._watch_no_longer()
        self._long = None
        super().connection_lost(exc)

    def room(self, scratch: memoryview) -> memoryview:
        """Where to read to next: into a long body that is asked for, or else into `scratch`."""
        if self._long is None:
            return scratch
        if len(self._long.room):
            self._past_parser = True
            return self._long.room
        return scratch[: self._long.missing_bytes] if self._past_parser else scratch

    def came(self, content: memoryview) -> None:
        """What was read to there."""
        if self._long is None or not self._past_parser:
            self.data_received(content)
            return
        self._long.came(len(content))
        if not self._long.missing_bytes:
            self._start_parser()
            self.on_message_complete()
        elif not len(self._long.room) and not self.cycle.response_complete:
            self.flow.pause_reading()
            self.cycle.message_event.set()

    def data_received(self, data: bytes | memoryview) -> None:
        if not self._in_body:
            self._head_bytes += len(data)
            if self._coming is None:
                self._expect(_HEAD_S)
        super().data_received(data)  # type: ignore[arg-type]  # the parser takes any buffer
        if not self._in_body and self._head_bytes > _MOST_HEAD_BYTES:
            self._refuse(Problem("head-too-large", f"the request's head has more than {_MOST_HEAD_BYTES} bytes"))

    def eof_received(self) -> bool:  # type: ignore[override]
        """True: what is under way is still answered, unless it is said to end with its caller."""
        if self._in_body or not self._is_answering() or self.scope["state"].get("ends_with_its_caller"):
            return False
        self.cycle.keep_alive = False
        return True

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:  # else a trailer
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._expect_nothing()
        self._in_body, self._head_bytes = True, 0
        self._at_once = self._answered_at_once()
        if self._at_once:
            return
        super().on_headers_complete()
        self.cycle.transport = Joined(self.transport, self.loop)  # type: ignore[assignment]
        if (num_bytes := self._stated_bytes()) >= LONG_BYTES:
            self._receive_long(LongBody(num_bytes))

    def on_body(self, body: bytes) -> None:
        if self._long is not None:
            self._long.came_early(body)
            if self.cycle.response_complete:
                self._long.drop()
            elif self._long.missing_bytes:
                self.flow.pause_reading()
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._expect_nothing()
        self._in_body, self._long = False, None
        if self._at_once:
            self.on_response_complete()
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_body and self.cycle.response_complete:
            if self._long is not None:
                self._long.drop()
            self._expect(_REST_S)

    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem("malformed", "what came is no HTTP/1.1 request"))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        self._watch_no_longer()
        super().resume_writing()

    def _answered_at_once(self) -> bool:
        """Whether it was a request for the lane, and nothing else is under way."""
        parser, lane = self.parser, self.config.loaded_app.state.lane
        if lane is None or parser.get_method() != b"GET" or self._is_answering() or self.flow.write_paused:
            return False
        if parser.should_upgrade() or not parser.should_keep_alive() or parser.get_http_version() != "1.1":
            return False
        ready = lane.ready(self.url, self.headers, self.client is None, self.server_state.default_headers)
        if ready is None:
            return False
        self.transport.writelines([ready.head, ready.frame])
        lane.sent(ready)
        return True

    def _stated_bytes(self) -> int:
        """Of the body; 0 where that is not said."""
        stated = dict(self.headers)
        return 0 if b"transfer-encoding" in stated else int(stated.get(b"content-length", 0))

    def _receive_long(self, body: LongBody) -> None:
        """Has the application's `receive` begin with the next piece, and return it when it is there."""
        cycle, receive, self._long = self.cycle, self.cycle.receive, body

        async def received() -> ASGIReceiveEvent:
            if not cycle.disconnected and not cycle.response_complete:
                body.begin()
            message = await receive()
            if message["type"] == "http.request":
                message["body"] = body.take()  # type: ignore[typeddict-item]  # any buffer does
            return message

        cycle.receive = received  # type: ignore[method-assign]

    def _start_parser(self) -> None:
        """Anew, for the next request: this one's would still wait for what has gone past it."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
        self._past_parser = False

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, problem: Problem) -> None:
        """Answers and closes; where an answer is under way, when that is done."""
        if self.transport.is_closing():
            return
        if self._is_answering() and not self._in_body:
            self.cycle.keep_alive = False
            return
        if not self._is_answering():
            answer = problem.response()
            lines = [*answer.raw_headers, (b"connection", b"close")]
            head = b"".join(name + b": " + value + b"\r\n" for name, value in lines)
            self.transport.write(STATUS_LINE[answer.status_code] + head + b"\r\n" + bytes(answer.body))
        self.transport.close()

    def _expect(self, seconds: float) -> None:
        self._expect_nothing()
        if not self.transport.is_closing():
            self._coming = self.loop.call_later(seconds, self._end)

    def _expect_nothing(self) -> None:
        if self._coming is not None:
            self._coming.cancel()
            self._coming = None

    def _end(self) -> None:
        self._coming = None
        if not self._is_answering():
            self.transport.abort()

    def _watch(self) -> None:
        self._watch_no_longer()
        self._going = self.loop.call_later(_TAKEN_S, self._end_if_stuck, self.transport.get_write_buffer_size())

    def _watch_no_longer(self) -> None:
        if self._going is not None:
            self._going.cancel()
            self._going = None

    def _end_if_stuck(self, waiting_bytes: int) -> None:
        if waiting_bytes - self.transport.get_write_buffer_size() < _TAKEN_BYTES:
            self.transport.abort()
        else:
            self._watch()
