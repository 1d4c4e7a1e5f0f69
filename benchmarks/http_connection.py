"""One connection that speaks HTTP/1.1 with little of its own in the way: heads are cut by hand, bodies are read into
the caller's buffer, in as few calls as the system allows. The same for every server that is measured.
"""

from __future__ import annotations

import re
import socket
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType

_HEAD_BYTES = 4096
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHECKSUM = re.compile(rb"\r\nkvstore-xxh3: *([0-9a-f]{32})\r\n", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """Its status and body, which lies in the connection's buffer until the next request."""

    status: int
    body: memoryview
    head: bytes

    @property
    def xxh3(self) -> str | None:
        """The body's checksum, where the server says one."""
        found = _CHECKSUM.search(self.head)
        return found[1].decode() if found else None


class HttpConnection(AbstractContextManager["HttpConnection"]):
    """To a host and port, or a Unix socket. Bodies are at most as long as the buffer."""

    def __init__(self, address: tuple[str, int] | str, buffer_bytes: int) -> None:
        if isinstance(address, str):
            self._socket = socket.socket(socket.AF_UNIX)
        else:
            self._socket = socket.socket(socket.AF_INET)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.connect(address)
        self._buffer = memoryview(bytearray(buffer_bytes))

    def ask(self, method: str, target: str, body: bytes | memoryview = b"", headers: str = "") -> Answer:
        """`headers` are whole lines. Raises ConnectionError when the server closes before the answer is whole."""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self._socket.sendall(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{length}{headers}\r\n".encode())
        if body:
            self._socket.sendall(body)
        return self._answer()

    def _answer(self) -> Answer:
        head, rest = self._head()
        status, length = _STATUS.match(head), _LENGTH.search(head)
        if status is None or (length is None and status[1] != b"204"):
            raise ConnectionError(f"no answer with a length: {head!r}")
        num_bytes = int(length[1]) if length else 0
        body = self._buffer[:num_bytes]
        if len(body) < num_bytes:
            raise ConnectionError(f"an answer longer than {len(self._buffer)} bytes")
        body[: len(rest)] = rest
        missing = body[len(rest) :]
        while len(missing):
            received = self._socket.recv_into(missing, 0, socket.MSG_WAITALL)
            if not received:
                raise ConnectionError("the body ended before its length")
            missing = missing[received:]
        return Answer(int(status[1]), body, head)

    def _head(self) -> tuple[bytes, bytes]:
        """A head with the line that ends it, and what came of the body with it."""
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            more = self._socket.recv(_HEAD_BYTES)
            if not more:
                raise ConnectionError("the server closed the connection")
            received += more
        return received[: end + 4], received[end + 4 :]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()
