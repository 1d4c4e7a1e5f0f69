"""Long bodies: read from the socket into the memory they stay in, which is the one copy on a frame's way in."""

from __future__ import annotations

import numpy as np

LONG_BYTES = 64 << 10
"""What is shorter is copied sooner than it is treated apart."""
_PIECE_BYTES = 16 << 20
_NOTHING = memoryview(b"")


class LongBody:
    """One request's, of known length. It is read piece by piece, each when it is asked for; most are of one piece."""

    def __init__(self, num_bytes: int) -> None:
        self.missing_bytes = num_bytes
        self.room = _NOTHING
        """What of the piece is still to be read. Empty while none is asked for."""
        self._early: list[bytes] = []
        self._piece: memoryview | None = None

    def begin(self) -> None:
        """A piece is asked for. Safe to repeat until it is taken."""
        if self._piece is None:
            early, self._early = b"".join(self._early), []
            self._piece = np.empty(len(early) + min(self.missing_bytes, _PIECE_BYTES), np.uint8).data
            self._piece[: len(early)] = early
            self.room = self._piece[len(early) :]

    def came_early(self, content: bytes) -> None:
        """With the head."""
        self._early.append(content)
        self.missing_bytes -= len(content)

    def came(self, num_bytes: int) -> None:
        """Into the room, where there is some; else nobody wants it."""
        self.missing_bytes -= num_bytes
        self.room = self.room[num_bytes:]

    def take(self) -> memoryview:
        """The piece, which is whole."""
        piece, self._piece, self.room = self._piece, None, _NOTHING
        return _NOTHING if piece is None else piece

    def drop(self) -> None:
        """Nobody wants it any more."""
        self.room, self._piece, self._early = _NOTHING, None, []
