"""Rows of the disk index: how its tables' keys and values are packed. Numbers in keys are big-endian, so that
LMDB's byte order is theirs; those in values are little-endian.

    chunks      ChunkKey -> segment u64, offset u64, frame bytes u64, saved at f64, used at f64, hits u64,
                expires at f64, parent's key or zeros 32 bytes, pinned u8; the tenant (UTF-8)
    children    ChunkKey, held or not -> how many of the chunks held have it as their parent, u64
    order       tag, used at f64, ChunkKey -> nothing; chunks that may go, the next to go first: neither pinned
                nor anybody's parent. Once under the tag of all and once under that of its tenant
    expiry      expires at f64, ChunkKey -> nothing; chunks that expire
    segments    number u64 -> bytes u64 from its start that the index knows, bytes u64 of live records in them
    totals      tag -> frame bytes u64, record bytes u64
    quarantine  ChunkKey -> why its frame was taken out of service (JSON)
    meta        "format" -> "1"

A tag is the first 16 bytes of the SHA-256 of a tenant's name, or 16 zeros for all tenants together.
"""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass
from functools import lru_cache

from kvstore.key import KEY_BYTES, ChunkKey
from kvstore.segment_record import record_bytes
from kvstore.segments import Place
from kvstore.tier import Entry, Terms

TABLES = b"chunks", b"children", b"order", b"expiry", b"segments", b"totals", b"quarantine", b"meta"
FORMAT = b"1"
EVERYBODY = bytes(16)
COUNT, PAIR, NUMBER = struct.Struct("<Q"), struct.Struct("<QQ"), struct.Struct(">Q")
_CHUNK = struct.Struct("<QQQddQd32s?")
_EXPIRES_AT = struct.Struct("<48xd")
_TIME = struct.Struct(">d")
_NO_PARENT = bytes(KEY_BYTES)


@dataclass(frozen=True, slots=True)
class Located:
    """An entry, and where its record is."""

    entry: Entry
    place: Place

    @property
    def record_bytes(self) -> int:
        return record_bytes(self.entry.size_bytes)


def pack_chunk(located: Located) -> bytes:
    entry, place = located.entry, located.place
    return _CHUNK.pack(
        place.segment,
        place.offset,
        entry.size_bytes,
        entry.saved_at_s,
        entry.used_at_s,
        entry.hits,
        entry.terms.expires_at_s,
        entry.parent.digest if entry.parent else _NO_PARENT,
        entry.pinned,
    ) + entry.terms.tenant.encode(errors="surrogatepass")


def unpack_chunk(key: ChunkKey, row: bytes) -> Located:
    """Raises struct.error or UnicodeError on a row that is none."""
    segment, offset, size, saved_at_s, used_at_s, hits, expires_at_s, parent, pinned = _CHUNK.unpack_from(row)
    terms = Terms(row[_CHUNK.size :].decode(errors="surrogatepass"), expires_at_s)
    of_parent = None if parent == _NO_PARENT else ChunkKey(parent)
    entry = Entry(key, size, saved_at_s, used_at_s, hits, terms, of_parent, pinned)
    return Located(entry, Place(segment, offset))


def expires_at_s(row: bytes | memoryview) -> float:
    """Of a row of `chunks`, without unpacking the rest."""
    at_s: float = _EXPIRES_AT.unpack_from(row)[0]
    return at_s


@lru_cache(1024)
def tag(tenant: str) -> bytes:
    return hashlib.sha256(tenant.encode(errors="surrogatepass")).digest()[:16]


def order_keys(entry: Entry) -> tuple[bytes, bytes]:
    """Under which an entry that may go stands in `order`."""
    rest = _TIME.pack(max(0.0, entry.used_at_s)) + entry.key.digest
    return EVERYBODY + rest, tag(entry.terms.tenant) + rest


def key_in_order(order_key: bytes) -> ChunkKey:
    return ChunkKey(order_key[-KEY_BYTES:])


def expiry_key(entry: Entry) -> bytes | None:
    """Under which an entry stands in `expiry`; None when it does not expire."""
    if entry.terms.expires_at_s == math.inf:
        return None
    return _TIME.pack(max(0.0, entry.terms.expires_at_s)) + entry.key.digest


def unpack_expiry(expiry_key: bytes) -> tuple[float, ChunkKey]:
    at_s: float = _TIME.unpack_from(expiry_key)[0]
    return at_s, ChunkKey(expiry_key[_TIME.size :])
