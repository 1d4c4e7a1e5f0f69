"""Values: frames, and the profiles they need, as remote stores keep them: records as in a segment file.

    frames/<key>              header, frame
    profiles/<fingerprint>    header, profile; in the header's place for a key is the fingerprint

The header is that of `kvstore/segment_record.py`, of 512 bytes: whose the frame is and until when, what stands before
it, its length and its checksum. So one read tells all, no engine has to keep anything beside a value, and what is torn,
foreign or another's is told from what was put there.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

from connectors.remote.store import Buffer
from kvstore import ChunkKey, CorruptFrame, Entry, InvalidRequest, Terms
from kvstore.segment_record import RecordHeader, checksum, unpack_header
from kvstore.tier import NO_TERMS, Frame

HEADER_BYTES = 512
FRAMES, PROFILES = "frames/", "profiles/"


def name_of(key: ChunkKey) -> str:
    """Of its frame."""
    return f"{FRAMES}{key}"


def key_of(name: str) -> ChunkKey | None:
    """What is stored under that name belongs to; None for a name that we give nothing."""
    with suppress(InvalidRequest):
        return ChunkKey.from_hex(name.removeprefix(FRAMES).removeprefix(PROFILES))
    return None


def parts_of(
    key: ChunkKey, content: Frame, parent: ChunkKey | None = None, terms: Terms = NO_TERMS
) -> tuple[Buffer, Buffer]:
    """Raises InvalidRequest when the tenant's name is too long to be kept."""
    view = memoryview(content).cast("B")
    header = RecordHeader(key, len(view), checksum(view), time.time(), terms, parent)
    return header.pack(HEADER_BYTES), view


@dataclass(frozen=True)
class Value:
    """What came: of the content perhaps the first bytes only."""

    header: RecordHeader
    content: memoryview

    @property
    def entry(self) -> Entry:
        header = self.header
        return Entry(
            header.key, header.size_bytes, header.saved_at_s, header.saved_at_s, 0, header.terms, header.parent
        )

    @property
    def has_expired(self) -> bool:
        return self.header.terms.expires_at_s <= time.time()


def begun(value: Buffer, name: str) -> Value:
    """Of a value's first bytes. Raises CorruptFrame when they are none of that name's."""
    view = memoryview(value).cast("B").toreadonly()
    header = unpack_header(view, HEADER_BYTES)
    if header is None:
        raise CorruptFrame("foreign: what is stored there is none of this project's records")
    if header.key != key_of(name):
        raise CorruptFrame(f"wrong: what is stored there belongs to {header.key}")
    return Value(header, view[HEADER_BYTES:])


def whole(value: Buffer, name: str) -> Value:
    """As `begun`, of all of it; every byte is checked."""
    found = begun(value, name)
    if len(found.content) != found.header.size_bytes or checksum(found.content) != found.header.payload_xxh3:
        raise CorruptFrame(f"torn: of its {found.header.size_bytes} bytes some are missing or changed")
    return found
