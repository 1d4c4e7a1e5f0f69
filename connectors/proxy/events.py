"""Server-sent events: a stream's bytes, split where its events end, and what each of them says.

After the HTML standard's section 9.2.6: lines end with LF, CRLF or CR, and an empty one ends the event.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DONE = b"[DONE]"
MEDIA_TYPE = "text/event-stream"
_END = re.compile(rb"\r\n\r\n|\n\n|\r\r|\r\n\n|\n\r\n")
_LINES = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True)
class Event:
    raw: bytes
    """As it came, with the empty line that ends it."""

    @property
    def said(self) -> bytes | None:
        """Its `data`; None where there is none: a comment that keeps the connection."""
        values = [line[5:].removeprefix(b" ") for line in _LINES.split(self.raw) if line.startswith(b"data:")]
        return b"\n".join(values) if values else None


class Splitter:
    """Takes pieces of any length; their events' bytes, one behind the other, are the stream's."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def take(self, piece: bytes) -> list[Event]:
        """Those that are whole now."""
        self._rest += piece
        if self._rest.endswith(b"\r"):
            return []  # the LF of that may come next
        events, begin = [], 0
        for found in _END.finditer(self._rest):
            events.append(Event(bytes(self._rest[begin : found.end()])))
            begin = found.end()
        del self._rest[:begin]
        return events

    @property
    def rest(self) -> bytes:
        """What came behind the last one that is whole."""
        return bytes(self._rest)


def event_of(said: Mapping[str, Any]) -> bytes:
    """An event that says a JSON value."""
    return b"data: " + json.dumps(said, separators=(",", ":")).encode() + b"\n\n"


LAST = b"data: " + DONE + b"\n\n"
