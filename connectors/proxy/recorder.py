"""Recorder: what of an upstream's answer is passed on, and the whole answer once it has ended."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Protocol

from connectors.proxy.assembling import Assembler, NotWhole
from connectors.proxy.broadcast import Piece
from connectors.proxy.canonical import Kind
from connectors.proxy.events import DONE, Event, Splitter
from connectors.proxy.keeping import MOST_BYTES

_MOST_EVENT_BYTES = 1 << 20
_MAY_BE_USAGE = re.compile(rb'"usage"\s*:\s*\{')


class Recorder(Protocol):
    """Of one answer. What goes in comes out unchanged."""

    def take(self, content: bytes) -> Iterator[Piece]: ...

    def rest(self) -> Iterator[Piece]:
        """What it still has when the answer ended."""

    @property
    def is_done(self) -> bool:
        """Whether the answer is whole already, though its connection goes on."""

    def answer(self) -> dict[str, Any]:
        """Raises NotWhole."""


class Unrecorded:
    """Passes on."""

    is_done = False

    def take(self, content: bytes) -> Iterator[Piece]:
        yield Piece(content)

    def rest(self) -> Iterator[Piece]:
        return iter(())

    def answer(self) -> dict[str, Any]:
        raise NotWhole("not recorded")


class OfJson:
    """An answer in one JSON."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._bytes = 0
        self.is_done = False

    def take(self, content: bytes) -> Iterator[Piece]:
        self._bytes += len(content)
        if self._bytes <= MOST_BYTES:
            self._pieces.append(content)
        else:
            self._pieces.clear()
        yield Piece(content)

    def rest(self) -> Iterator[Piece]:
        return iter(())

    def answer(self) -> dict[str, Any]:
        if self._bytes > MOST_BYTES:
            raise NotWhole("the answer is too long to be kept")
        try:
            answer = json.loads(b"".join(self._pieces))
        except (ValueError, RecursionError) as error:
            raise NotWhole("the answer is no JSON") from error
        if not isinstance(answer, dict):
            raise NotWhole("the answer is no object")
        return answer


class OfStream:
    """An answer in events. They are passed on when they are whole: the one with the usage may not be asked for.

    What they say is read when there is time, after the last one.
    """

    def __init__(self, kind: Kind) -> None:
        self._kind, self._splitter = kind, Splitter()
        self._events: list[Event] = []
        self._bytes, self._gave_up = 0, False

    def take(self, content: bytes) -> Iterator[Piece]:
        if self._gave_up:
            yield Piece(content)
            return
        yield from _joined([self._taken(event) for event in self._splitter.take(content)])
        if self._bytes > MOST_BYTES or len(self._splitter.rest) > _MOST_EVENT_BYTES:
            self._gave_up = True
            yield from self.rest()
            self._events.clear()

    def rest(self) -> Iterator[Piece]:
        if rest := self._splitter.rest:
            self._splitter = Splitter()
            yield self._taken(Event(rest))

    @property
    def is_done(self) -> bool:
        return bool(self._events) and self._events[-1].said == DONE

    def answer(self) -> dict[str, Any]:
        if self._gave_up:
            raise NotWhole("the answer is too long to be kept")
        assembler = Assembler(self._kind)
        for event in self._events:
            assembler.take(event)
        return assembler.answer()

    def _taken(self, event: Event) -> Piece:
        self._bytes += len(event.raw)
        self._events.append(event)
        return Piece(event.raw, _is_usage(event))


def _is_usage(event: Event) -> bool:
    """Whether it says the stream's usage and nothing else. Only what looks like it is read."""
    if _MAY_BE_USAGE.search(event.raw) is None:
        return False
    try:
        chunk = json.loads(event.said or b"")
    except (ValueError, RecursionError):
        return False
    return isinstance(chunk, dict) and chunk.get("choices") == [] and isinstance(chunk.get("usage"), dict)


def _joined(pieces: list[Piece]) -> Iterator[Piece]:
    """What came together goes on together, but for what says the usage."""
    for is_usage, some in groupby(pieces, key=lambda piece: piece.is_usage):
        yield Piece(b"".join(piece.content for piece in some), is_usage)
