"""A connection, for the event loop: what is read goes where `Protocol` wants it, long bodies to where they stay."""

from __future__ import annotations

import threading
from asyncio import BufferedProtocol
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Any

from connectors.sidecar.protocol import Protocol

_SEND_BYTES = 4 << 20  # the system takes an answer of that length at once
_SCRATCH_BYTES = 32 << 10  # what comes of a body with its head is copied more than once


class _Scratch(threading.local):
    """Of one event loop, all of its connections: what is read there is taken before anything else is."""

    def __init__(self) -> None:
        self.room = memoryview(bytearray(_SCRATCH_BYTES))


_scratch = _Scratch()


class Connection(BufferedProtocol):
    """Protocol's door to a transport. It is none of that kind itself, since it would then be given copies."""

    def __init__(self, **named: Any) -> None:
        """As uvicorn makes its protocols."""
        self._protocol = Protocol(**named)
        self._read_to = _scratch.room

    def connection_made(self, transport: Any) -> None:
        transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_SNDBUF, _SEND_BYTES)
        self._protocol.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:
        self._read_to = self._protocol.room(_scratch.room)
        return self._read_to

    def buffer_updated(self, nbytes: int) -> None:
        content, self._read_to = self._read_to[:nbytes], _scratch.room  # a frame is not kept alive by its connection
        self._protocol.came(content)

    def eof_received(self) -> bool:
        return self._protocol.eof_received()

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()
