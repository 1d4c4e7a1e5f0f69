"""LmdbFrames: the tables of an LMDB tier.

    frames      ChunkKey -> frame bytes
    index       ChunkKey -> size, saved at, used at, hits, expires at, parent's key or zeros, pinned (73 bytes,
                little-endian); the tenant (UTF-8)
    quarantine  ChunkKey -> why its frame was taken out of service (JSON)

Every read copies, and the copy releases the GIL while pages come in.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kvstore.key import KEY_BYTES, ChunkKey
from kvstore.lmdb_env import LmdbEnvironment
from kvstore.tier import Entry, Frame, Terms

_RECORD = struct.Struct("<QddQd32s?")
_NO_PARENT = bytes(KEY_BYTES)
_MAX_QUARANTINED = 1000
_TABLES = b"frames", b"index", b"quarantine"


class LmdbFrames:
    """One open environment. Errors of lmdb come out as TierUnavailable, with the path in the message."""

    def __init__(self, path: Path, map_bytes: int | None) -> None:
        """Opens for writing with room for `map_bytes`, or for reading only when that is None."""
        self._env = LmdbEnvironment(path, _TABLES, map_bytes)
        self._frames, self._index, self._quarantine = (self._env.tables[name] for name in _TABLES)

    def get(self, key: ChunkKey, num_bytes: int | None = None) -> memoryview | None:
        """A copy of the frame, or of its first `num_bytes`; None when there is none."""
        with self._env.transaction() as transaction:
            view = transaction.get(key.digest, db=self._frames)
            if view is None:
                return None
            stored = np.frombuffer(view, np.uint8)[:num_bytes]
            copy = np.empty_like(stored)
            np.copyto(copy, stored)
            copy.flags.writeable = False
            return copy.data

    def match(self, keys: Iterable[ChunkKey], now_s: float) -> int:
        """How many leading keys are in the index, and have not expired."""
        held = 0
        with self._env.transaction() as transaction:
            for key in keys:
                record = transaction.get(key.digest, db=self._index)
                if record is None or _entry(key.digest, bytes(record)).terms.expires_at_s <= now_s:
                    break
                held += 1
        return held

    def entry(self, key: ChunkKey) -> Entry | None:
        """The index record of one key."""
        with self._env.transaction() as transaction:
            record = transaction.get(key.digest, db=self._index)
            return None if record is None else _entry(key.digest, bytes(record))

    def entries(self) -> list[Entry]:
        """Every index record."""
        with self._env.transaction() as transaction, transaction.cursor(self._index) as cursor:
            return [_entry(bytes(key), bytes(record)) for key, record in cursor]

    def quarantined(self) -> dict[str, dict[str, str | float]]:
        """Why frames were taken out of service, by key in hex."""
        with self._env.transaction() as transaction, transaction.cursor(self._quarantine) as cursor:
            return {bytes(key).hex(): json.loads(bytes(reason)) for key, reason in cursor}

    def commit(
        self,
        put: Iterable[tuple[Entry, Frame]] = (),
        touch: Iterable[Entry] = (),
        delete: Iterable[ChunkKey] = (),
    ) -> None:
        """Deletes, then puts, then touches, all or nothing, durable when it returns."""
        with self._env.transaction(write=True) as transaction:
            for key in delete:
                transaction.delete(key.digest, db=self._frames)
                transaction.delete(key.digest, db=self._index)
            for entry, frame in put:
                transaction.put(entry.key.digest, frame, db=self._frames)
                transaction.put(entry.key.digest, _record(entry), db=self._index)
                transaction.delete(entry.key.digest, db=self._quarantine)
            for entry in touch:
                if transaction.get(entry.key.digest, db=self._index) is not None:
                    transaction.put(entry.key.digest, _record(entry), db=self._index)

    def quarantine(self, key: ChunkKey, reason: str) -> None:
        """Deletes the frame and remembers why, for the first thousand of them."""
        note = json.dumps({"reason": reason, "at_s": time.time()}).encode()
        with self._env.transaction(write=True) as transaction:
            for table in (self._frames, self._index):
                transaction.delete(key.digest, db=table)
            if transaction.stat(self._quarantine)["entries"] < _MAX_QUARANTINED:
                transaction.put(key.digest, note, db=self._quarantine)

    def file_bytes(self) -> int:
        """Length of the file on disk."""
        return self._env.file_bytes()

    def close(self) -> None:
        self._env.close()


def _record(entry: Entry) -> bytes:
    parent = entry.parent.digest if entry.parent else _NO_PARENT
    times = entry.saved_at_s, entry.used_at_s
    fixed = _RECORD.pack(entry.size_bytes, *times, entry.hits, entry.terms.expires_at_s, parent, entry.pinned)
    return fixed + entry.terms.tenant.encode()


def _entry(key: bytes, record: bytes) -> Entry:
    size_bytes, saved_at_s, used_at_s, hits, expires_at_s, parent, pinned = _RECORD.unpack_from(record)
    terms = Terms(record[_RECORD.size :].decode(), expires_at_s)
    of_parent = None if parent == _NO_PARENT else ChunkKey(parent)
    return Entry(ChunkKey(key), size_bytes, saved_at_s, used_at_s, hits, terms, of_parent, pinned)
