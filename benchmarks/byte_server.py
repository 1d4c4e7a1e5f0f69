"""A server that does nothing: GET /N is answered with N bytes from memory, a body that is PUT is read and forgotten.

    python -m benchmarks.byte_server PORT SOCKET

One thread for each connection; what takes time is the system's calls.
"""

from __future__ import annotations

import random
import re
import socket
import sys
import threading
from pathlib import Path

_MOST_BYTES, _LONGEST_BODY_BYTES = 64 << 20, 8 << 20
_REQUEST = re.compile(rb"(?:GET|PUT) /(?:\S*/)?(\d*)\S* HTTP/1.1\r\n", re.ASCII)
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


def main() -> None:
    port, path = sys.argv[1:]
    answer = memoryview(random.randbytes(1 << 20) * (_MOST_BYTES >> 20))
    Path(path).unlink(missing_ok=True)
    over_tcp = socket.create_server(("127.0.0.1", int(port)))
    over_unix = socket.socket(socket.AF_UNIX)
    over_unix.bind(path)
    over_unix.listen()
    threading.Thread(target=_accept, args=(over_unix, answer), daemon=True).start()
    _accept(over_tcp, answer)


def _accept(listening: socket.socket, answer: memoryview) -> None:
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=_serve, args=(connection, answer), daemon=True).start()


def _serve(connection: socket.socket, answer: memoryview) -> None:
    if connection.family == socket.AF_INET:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    received = memoryview(bytearray(_LONGEST_BODY_BYTES))
    while head := _head(connection):
        if (length := _LENGTH.search(head)) is not None:
            begun = len(head) - head.index(b"\r\n\r\n") - 4
            _read(connection, received[: int(length[1]) - begun])
            connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        else:
            asked = _REQUEST.match(head)
            num_bytes = int(asked[1] or 0) if asked else 0
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % num_bytes)
            begins = random.randrange(_MOST_BYTES - num_bytes)  # as who has many would not find each in a cache
            connection.sendall(answer[begins : begins + num_bytes])


def _head(connection: socket.socket) -> bytes:
    """A request's head, and what came with it; empty when the other side has gone."""
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(4096)
        if not more:
            return b""
        head += more
    return head


def _read(connection: socket.socket, into: memoryview) -> None:
    while len(into) and (num_bytes := connection.recv_into(into, 0, socket.MSG_WAITALL)):
        into = into[num_bytes:]


if __name__ == "__main__":
    main()
