"""Answers in one piece: a head and the body that follows at once are one call of the system, which wakes once."""

from __future__ import annotations

from asyncio import AbstractEventLoop, Handle, Transport


class Joined:
    """What uvicorn writes one answer to. A head whose body takes longer goes alone."""

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._head: bytes | None = None
        self._going: Handle | None = None
        self._has_begun = False

    def write(self, content: bytes) -> None:
        if self._has_begun:
            head = self._taken()
            self._transport.writelines([head, content] if head else [content])
        elif content.startswith(b"HTTP/1.1 100"):
            self._transport.write(content)
        else:
            self._has_begun, self._head = True, content
            self._going = self._loop.call_soon(self.flush)

    def flush(self) -> None:
        head = self._taken()
        if head and not self._transport.is_closing():
            self._transport.write(head)

    def _taken(self) -> bytes | None:
        head, self._head = self._head, None
        if self._going is not None:
            self._going.cancel()
            self._going = None
        return head

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self.flush()
        self._transport.close()
