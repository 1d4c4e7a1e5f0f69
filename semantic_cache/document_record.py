"""The bytes of a document, and of what is remembered of it and of its vector. All are checked before they are read.

    record     magic (8 bytes); length of the head; head (JSON: the id, the query, times); response; XXH3-128
    held       sizes, times; partition, exact key, category, tenant; XXH3-64
    vector     scale, codes (see `packed_vectors.py`); XXH3-64
    key        id; XXH3-64

A checksum is seeded with the id that a row lies under, or is of its key as well: a whole row in another's place is
as wrong as a damaged one.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import xxhash

from kvstore.errors import InvalidRequest
from semantic_cache.documents import Document, Held
from semantic_cache.packed_vectors import Rows, row_type
from semantic_cache.query import DIGEST_BYTES, Query

NUMBER = struct.Struct(">Q")  # big-endian: rows lie in the order of their ids
_MAGIC = b"answer 1"
_LENGTH = struct.Struct("<I")
_RECORD_CHECK_BYTES, _ROW_CHECK_BYTES = 16, 8
_HELD = struct.Struct("<dddQHH")
_DIGESTS = 2 * DIGEST_BYTES


def pack_document(document_id: int, document: Document) -> bytes:
    """Raises InvalidRequest when a time is no number; `expires_at_s` may be infinite, as for what never does."""
    query = document.query
    if not document.expires_at_s > -math.inf or not math.isfinite(document.saved_at_s + document.compute_s):
        raise InvalidRequest(f"the times of an answer to {query.text[:40]!r} are no numbers")
    head = {
        "id": document_id,
        "text": query.text,
        "context": query.context.hex(),
        "model": query.model,
        "tenant": query.tenant,
        "asked_category": query.category,
        "category": document.category,
        "writer": document.writer,
        "saved_at_s": document.saved_at_s,
        "expires_at_s": document.expires_at_s if math.isfinite(document.expires_at_s) else None,
        "compute_s": document.compute_s,
    }
    packed = json.dumps(head, separators=(",", ":")).encode()  # in ASCII: a text may have half a surrogate pair
    content = b"".join([_MAGIC, _LENGTH.pack(len(packed)), packed, document.response])
    return content + xxhash.xxh3_128_digest(content)


def unpack_document(document_id: int, record: bytes) -> Document | None:
    """None when it is damaged, or of another id."""
    content, start = memoryview(record)[:-_RECORD_CHECK_BYTES], len(_MAGIC) + _LENGTH.size
    if len(content) < start or xxhash.xxh3_128_digest(content) != record[-_RECORD_CHECK_BYTES:]:
        return None
    end = start + _LENGTH.unpack_from(content, len(_MAGIC))[0]
    try:
        head = json.loads(bytes(content[start:end]))
        if content[: len(_MAGIC)] != _MAGIC or head["id"] != document_id:
            return None
        return _document(head, bytes(content[end:]))
    except (ValueError, KeyError, TypeError, RecursionError):  # whole, and written by somebody else
        return None


def _document(head: dict[str, Any], response: bytes) -> Document:
    query = Query(
        _text(head["text"]),
        bytes.fromhex(head["context"]),
        _text(head["model"]),
        _text(head["tenant"]),
        None if head["asked_category"] is None else _text(head["asked_category"]),
    )
    return Document(
        query,
        _text(head["category"]),
        response,
        _text(head["writer"]),
        float(head["saved_at_s"]),
        math.inf if head["expires_at_s"] is None else float(head["expires_at_s"]),
        float(head["compute_s"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def held_of(document_id: int, document: Document, size_bytes: int) -> Held:
    query = document.query
    return Held(
        document_id,
        query.partition,
        query.exact_key,
        document.category,
        query.tenant,
        document.saved_at_s,
        document.expires_at_s,
        document.compute_s,
        size_bytes,
    )


def pack_held(held: Held) -> bytes:
    category, tenant = _utf8(held.category), _utf8(held.tenant)
    if max(len(category), len(tenant)) > 0xFFFF:
        raise InvalidRequest("the name of a category or tenant is longer than 65,535 bytes")
    times = held.saved_at_s, held.expires_at_s, held.compute_s
    fixed = _HELD.pack(*times, held.size_bytes, len(category), len(tenant))
    return _checked(held.id, b"".join([fixed, held.partition, held.exact_key, category, tenant]))


def unpack_held(document_id: int, row: bytes) -> Held | None:
    """None when it is damaged, or of another id."""
    content = _check(document_id, row)
    if content is None or len(content) < _HELD.size + _DIGESTS:
        return None
    saved_at_s, expires_at_s, compute_s, size_bytes, category_bytes, tenant_bytes = _HELD.unpack_from(content)
    names, middle = _HELD.size + _DIGESTS, _HELD.size + DIGEST_BYTES
    end = names + category_bytes
    if len(content) != end + tenant_bytes:
        return None
    return Held(
        document_id,
        content[_HELD.size : middle],
        content[middle:names],
        content[names:end].decode("utf-8", "surrogatepass"),
        content[end:].decode("utf-8", "surrogatepass"),
        saved_at_s,
        expires_at_s,
        compute_s,
        size_bytes,
    )


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def pack_vector(row: Rows) -> bytes:
    """Of one packed row."""
    return _checked(int(row["id"][0]), row.tobytes()[NUMBER.size :])


def unpack_vector(document_id: int, content: bytes, dimension: int) -> bytes | None:
    """The bytes of a packed row; None when it is damaged, of another id, or of another dimension."""
    row = _check(document_id, content)
    if row is None or len(row) != row_type(dimension).itemsize - NUMBER.size:
        return None
    return document_id.to_bytes(NUMBER.size, "little") + row


def pack_id(document_id: int, key: bytes) -> bytes:
    return _checked(document_id, NUMBER.pack(document_id), key)


def unpack_id(row: bytes, key: bytes) -> int | None:
    """None when it is damaged, or of another key."""
    if len(row) != NUMBER.size + _ROW_CHECK_BYTES:
        return None
    document_id: int = NUMBER.unpack_from(row)[0]
    return document_id if pack_id(document_id, key) == row else None


def _checked(document_id: int, content: bytes, key: bytes = b"") -> bytes:
    return content + xxhash.xxh3_64_digest(content + key, document_id)


def _check(document_id: int, row: bytes) -> bytes | None:
    content, check = row[:-_ROW_CHECK_BYTES], row[-_ROW_CHECK_BYTES:]
    return content if xxhash.xxh3_64_digest(content, document_id) == check else None
