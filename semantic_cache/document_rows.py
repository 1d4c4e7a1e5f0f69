"""DocumentRows: the tables of documents in LMDB, within one transaction. What belongs to one document comes and goes
together.

    documents   id -> record
    held        id -> what is remembered of it
    exact       exact key (32 bytes) -> id
    expiry      when it expires (8 bytes, in order), id -> nothing, for those that ever do
    vectors     embedder (16 bytes), id -> packed vector
    meta        "format", "store" (16 random bytes), "next id"

Ids are big-endian, so that rows lie in their order. The rows are described in `document_record.py`.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from itertools import islice, takewhile
from typing import Any

import numpy as np

from kvstore.lmdb_env import DamagedFile, Transaction
from semantic_cache.document_record import (
    NUMBER,
    held_of,
    pack_document,
    pack_held,
    pack_id,
    pack_vector,
    unpack_held,
    unpack_id,
)
from semantic_cache.documents import Document, Held
from semantic_cache.packed_vectors import Ids, Rows

TABLES = b"meta", b"documents", b"held", b"exact", b"expiry", b"vectors"
_FORMAT = b"answers 1"
_EMBEDDER_BYTES = 16
_DOUBLE, _SIGN = struct.Struct(">d"), 1 << 63


def embedder_key(fingerprint: str, dimension: int) -> bytes:
    """What vectors of one embedder lie under."""
    return blake2b(f"{dimension} {fingerprint}".encode("utf-8", "surrogatepass"), digest_size=_EMBEDDER_BYTES).digest()


class DocumentRows:
    """Reads and changes that are committed, or undone, with their transaction."""

    def __init__(self, transaction: Transaction, tables: Mapping[bytes, Any]) -> None:
        self._transaction, self._tables = transaction, tables

    def begin(self) -> tuple[bytes, int]:
        """As `state`; an empty file is named first."""
        if self._get(b"meta", b"format") is None:
            self._put(b"meta", b"format", _FORMAT)
            self._put(b"meta", b"store", os.urandom(16))
        return self.state()

    def state(self) -> tuple[bytes, int]:
        """The store's name and the next id. Raises DamagedFile on another format."""
        found = self._get(b"meta", b"format")
        if found != _FORMAT:
            raise DamagedFile(f"answers are of format {found!r}; this release reads {_FORMAT!r}")
        return self._get(b"meta", b"store") or b"", self._next_id()

    def _next_id(self) -> int:
        """Beyond all that were ever given, and all that are there, should a loss of power have undone the former."""
        given = NUMBER.unpack(self._get(b"meta", b"next id") or NUMBER.pack(0))[0]
        with self._transaction.cursor(self._tables[b"held"]) as cursor:
            last = NUMBER.unpack(cursor.key())[0] if cursor.last() else -1
        return int(max(given, last + 1))

    def put(self, document: Document, vector: Rows | None, embedder: bytes) -> Held:
        """Under a new id, in place of what had its key. `vector` is one packed row."""
        document_id = self._next_id()
        record = pack_document(document_id, document)
        held = held_of(document_id, document, len(record) + (vector.nbytes if vector is not None else 0))
        replaced = self.find(held.exact_key)
        if replaced is not None:
            self.drop(replaced)
        key = NUMBER.pack(document_id)
        self._put(b"meta", b"next id", NUMBER.pack(document_id + 1))
        self._put(b"documents", key, record)
        self._put(b"held", key, pack_held(held))
        self._put(b"exact", held.exact_key, pack_id(document_id, held.exact_key))
        if math.isfinite(held.expires_at_s):
            self._put(b"expiry", _in_order(held.expires_at_s) + key, b"")
        if vector is not None:
            self.put_vector(document_id, vector, embedder)
        return held

    def put_vector(self, document_id: int, vector: Rows, embedder: bytes) -> None:
        """In place of those of other embedders."""
        self._drop_vectors(document_id)
        vector["id"] = document_id
        self._put(b"vectors", embedder + NUMBER.pack(document_id), pack_vector(vector))

    def drop(self, document_id: int) -> bool:
        """Everything of one document, damaged or not; False when there was nothing."""
        key, held = NUMBER.pack(document_id), self.held(document_id)
        if held is None:
            self._sweep(document_id)
        else:
            self._delete(b"expiry", _in_order(held.expires_at_s) + key)
            if self.find(held.exact_key) == document_id:
                self._delete(b"exact", held.exact_key)
        self._drop_vectors(document_id)
        there = self._delete(b"held", key)
        return self._delete(b"documents", key) or there

    def _sweep(self, document_id: int) -> None:
        """Looks everywhere, because what is remembered of it is damaged."""
        if not self.is_held(document_id):
            return
        pointing = [key for key, row in self._all(b"exact") if unpack_id(row, key) == document_id]
        expiring = [key for key, _ in self._all(b"expiry") if key[-NUMBER.size :] == NUMBER.pack(document_id)]
        for table, keys in ((b"exact", pointing), (b"expiry", expiring)):
            for key in keys:
                self._delete(table, key)

    def _drop_vectors(self, document_id: int) -> None:
        for embedder in self.embedders():
            self._delete(b"vectors", embedder + NUMBER.pack(document_id))

    def record(self, document_id: int) -> bytes | None:
        return self._get(b"documents", NUMBER.pack(document_id))

    def held(self, document_id: int) -> Held | None:
        """None when it is damaged."""
        row = self._get(b"held", NUMBER.pack(document_id))
        return None if row is None else unpack_held(document_id, row)

    def is_held(self, document_id: int) -> bool:
        """Damaged or not."""
        return self._get(b"held", NUMBER.pack(document_id)) is not None

    def vector(self, document_id: int, embedder: bytes) -> bytes | None:
        return self._get(b"vectors", embedder + NUMBER.pack(document_id))

    def find(self, exact_key: bytes) -> int | None:
        """None when it is damaged."""
        row = self._get(b"exact", exact_key) if exact_key else None
        return None if row is None else unpack_id(row, exact_key)

    def held_from(self, start: int, most: int) -> list[tuple[int, Held | None]]:
        """By their ids, from `start` on; None where one is damaged."""
        with self._transaction.cursor(self._tables[b"held"]) as cursor:
            rows = islice(cursor.iternext() if cursor.set_range(NUMBER.pack(start)) else (), most)
            found = [(NUMBER.unpack(key)[0], bytes(row)) for key, row in rows]
        return [(document_id, unpack_held(document_id, row)) for document_id, row in found]

    def ids_with_vector(self, embedder: bytes) -> Ids:
        """In order."""
        with self._transaction.cursor(self._tables[b"vectors"]) as cursor:
            keys = map(bytes, cursor.iternext(values=False) if cursor.set_range(embedder) else ())
            own = takewhile(lambda key: key.startswith(embedder), keys)
            return np.frombuffer(b"".join(key[_EMBEDDER_BYTES:] for key in own), ">i8").astype(np.int64)

    def embedders(self) -> list[bytes]:
        """Those that vectors lie under."""
        found: list[bytes] = []
        with self._transaction.cursor(self._tables[b"vectors"]) as cursor:
            there = cursor.first()
            while there:
                found.append(bytes(cursor.key())[:_EMBEDDER_BYTES])
                there = cursor.set_range(found[-1] + b"\xff" * NUMBER.size)
        return found

    def expired(self, now_s: float) -> list[int]:
        """Ids, the longest expired first."""
        with self._transaction.cursor(self._tables[b"expiry"]) as cursor:
            last, found = _in_order(now_s), []
            for key in cursor.iternext(values=False) if cursor.first() else ():
                if bytes(key[: -NUMBER.size]) > last:
                    break
                found.append(NUMBER.unpack(key[-NUMBER.size :])[0])
        return found

    def _all(self, table: bytes) -> Iterator[tuple[bytes, bytes]]:
        with self._transaction.cursor(self._tables[table]) as cursor:
            yield from ((bytes(key), bytes(row)) for key, row in cursor)

    def _get(self, table: bytes, key: bytes) -> bytes | None:
        found = self._transaction.get(key, db=self._tables[table])
        return None if found is None else bytes(found)

    def _put(self, table: bytes, key: bytes, row: bytes) -> None:
        self._transaction.put(key, row, db=self._tables[table])

    def _delete(self, table: bytes, key: bytes) -> bool:
        return bool(self._transaction.delete(key, db=self._tables[table]))


def _in_order(seconds: float) -> bytes:
    """8 bytes that sort as the numbers do."""
    bits = int.from_bytes(_DOUBLE.pack(seconds + 0.0), "big")  # which makes a minus of zero a plus
    return NUMBER.pack(bits ^ (2**64 - 1) if bits & _SIGN else bits | _SIGN)
