"""Broadcast: one answer on its way to however many readers want it, each from its first byte.

Pieces go on as they come. Whoever writes waits while no reader has taken what there is; past `most_bytes`, while any
has not, and nobody may join any more: a slow reader costs no more memory than that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Begun = TypeVar("Begun")
_AHEAD_BYTES = 64 << 10


@dataclass(frozen=True)
class Piece:
    content: bytes
    is_usage: bool = False
    """Says the stream's usage alone: for who asked for that."""


class Broadcast(Generic[Begun]):
    """Of one event loop. It begins with something, then has pieces, then ends; or it fails on the way."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._begun: Begun | None = None
        self._pieces: deque[Piece] = deque()
        self._num_dropped = 0
        self._bytes = 0
        self._is_over = False
        self._error: Exception | None = None
        self._readers: set[Reader[Begun]] = set()
        self._waiting: list[asyncio.Future[None]] = []

    def begin(self, begun: Begun) -> None:
        self._begun = begun
        self._wake()

    async def put(self, piece: Piece) -> None:
        """Returns when it is time for more."""
        self._pieces.append(piece)
        self._bytes += len(piece.content)
        self._wake()
        while self._is_behind():
            await self._changed()

    def end(self) -> None:
        """There is no more. Nothing happens where it failed."""
        self._is_over = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """Every reader meets it, behind the pieces there are. Nothing happens where it ended."""
        if not self._is_over:
            self._error, self._is_over = error, True
            self._wake()

    @property
    def may_be_joined(self) -> bool:
        return self._error is None and not self._num_dropped and self._bytes <= self._most_bytes

    @property
    def is_over(self) -> bool:
        return self._is_over

    @property
    def num_readers(self) -> int:
        return len(self._readers)

    def join(self) -> Reader[Begun]:
        reader = Reader(self)
        self._readers.add(reader)
        return reader

    def leave(self, reader: Reader[Begun]) -> None:
        self._readers.discard(reader)
        self._wake()

    async def begun(self) -> Begun:
        """Raises what it failed with before it began."""
        while self._begun is None:
            if self._error is not None:
                raise self._error
            await self._changed()
        return self._begun

    async def piece(self, index: int) -> Piece | None:
        """None behind the last one. Raises what it failed with."""
        while index >= self._num_dropped + len(self._pieces):
            if self._error is not None:
                raise self._error
            if self._is_over:
                return None
            await self._changed()
        return self._pieces[index - self._num_dropped]

    def taken(self) -> None:
        """A reader has gone on."""
        if not self._is_over:
            if not self.may_be_joined:
                self._drop()
            self._wake()

    def _drop(self) -> None:
        while self._num_dropped < min((reader.index for reader in self._readers), default=0):
            self._pieces.popleft()
            self._num_dropped += 1

    def _is_behind(self) -> bool:
        taken_bytes = [reader.taken_bytes for reader in self._readers]
        if not taken_bytes:
            return False
        return self._bytes - (max(taken_bytes) if self.may_be_joined else min(taken_bytes)) > _AHEAD_BYTES

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def _changed(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future


class Reader(Generic[Begun]):
    """One who wants the answer, until it leaves."""

    def __init__(self, broadcast: Broadcast[Begun]) -> None:
        self._broadcast = broadcast
        self.index = 0
        """Of the piece that it takes next."""
        self.taken_bytes = 0

    async def begun(self) -> Begun:
        return await self._broadcast.begun()

    async def __aiter__(self) -> AsyncIterator[Piece]:
        while (piece := await self._broadcast.piece(self.index)) is not None:
            yield piece
            self.index += 1
            self.taken_bytes += len(piece.content)
            self._broadcast.taken()
