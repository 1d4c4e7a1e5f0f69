"""DiskIndex: where each chunk's record is and what is remembered of it, in LMDB. The tables are in `index_rows.py`.

Nothing of it is kept in memory; opening it takes what reading its file once takes (`index_seal.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from kvstore import index_rows as rows
from kvstore.errors import TierUnavailable
from kvstore.index_change import IndexChange
from kvstore.index_rows import EVERYBODY, Located
from kvstore.index_seal import break_seal, check_seal, seal
from kvstore.key import ChunkKey
from kvstore.lmdb_env import DamagedFile, LmdbEnvironment, Transaction

T = TypeVar("T")
_MAP_BYTES = 64 << 30  # sparse: address space only
_ENTRIES_AT_ONCE = 1000  # so that listing a million keeps no old pages alive


class DiskIndex:
    """One open index. Raises TierUnavailable, and DamagedFile where it cannot be trusted. Safe in threads."""

    def __init__(self, path: Path, writable: bool) -> None:
        self._writable = writable
        try:
            break_seal(path) if writable else check_seal(path)
        except OSError as error:
            raise TierUnavailable(f"{path}: {error}") from error
        self._env = LmdbEnvironment(path, rows.TABLES, _MAP_BYTES if writable else None, metasync=False)
        try:
            if writable and not self._num_rows(b"meta") and not self._num_rows(b"chunks"):
                self._env.write(self._put_format)
            self._check_format()
        except BaseException:
            self._env.close()
            raise

    def _num_rows(self, table: bytes) -> int:
        with self._env.reading() as transaction:
            number: int = transaction.stat(self._env.tables[table])["entries"]
            return number

    def _put_format(self, transaction: Transaction) -> None:
        transaction.put(b"format", rows.FORMAT, db=self._env.tables[b"meta"])

    def _check_format(self) -> None:
        with self._env.reading() as transaction:
            found = transaction.get(b"format", db=self._env.tables[b"meta"])
        if found != rows.FORMAT:
            raise DamagedFile(f"{self._env.path} is of format {found!r}; this release reads {rows.FORMAT!r}")

    def match(self, keys: Sequence[ChunkKey], now_s: float) -> int:
        """How many leading keys are held, and have not expired."""
        chunks, held = self._env.tables[b"chunks"], 0
        with self._env.reading() as transaction:
            for key in keys:
                row = transaction.get(key.digest, db=chunks)
                if row is None or rows.expires_at_s(row) <= now_s:
                    break
                held += 1
        return held

    def find(self, key: ChunkKey) -> Located | None:
        """Whether its time is up or not."""
        return self.find_each([key])[0]

    def find_each(self, keys: Sequence[ChunkKey]) -> list[Located | None]:
        """As they are at one moment."""
        chunks = self._env.tables[b"chunks"]
        with self._env.reading() as transaction:
            found = [transaction.get(key.digest, db=chunks) for key in keys]
            return [
                None if row is None else rows.unpack_chunk(key, bytes(row))
                for key, row in zip(keys, found, strict=True)
            ]

    def chunks(self) -> Iterator[Located]:
        """Every chunk, in the order of the keys; some of what changes meanwhile may be missed."""
        after = b""
        while page := self._page(after):
            yield from page
            after = page[-1].entry.key.digest + b"\0"

    def _page(self, start: bytes) -> list[Located]:
        page: list[Located] = []
        with self._env.reading() as transaction, transaction.cursor(self._env.tables[b"chunks"]) as cursor:
            if cursor.set_range(start):
                for key, row in cursor:
                    page.append(rows.unpack_chunk(ChunkKey(bytes(key)), bytes(row)))
                    if len(page) == _ENTRIES_AT_ONCE:
                        break
        return page

    def segments(self) -> dict[int, tuple[int, int]]:
        """By segment: how many bytes from its start are known, how many of them are live records."""
        with self._env.reading() as transaction, transaction.cursor(self._env.tables[b"segments"]) as cursor:
            return {rows.NUMBER.unpack(key)[0]: rows.PAIR.unpack(row) for key, row in cursor}

    def size_bytes(self) -> int:
        """Bytes of all frames held."""
        with self._env.reading() as transaction:
            row = transaction.get(EVERYBODY, db=self._env.tables[b"totals"])
            return int(rows.PAIR.unpack(row)[0]) if row else 0

    def num_chunks(self) -> int:
        return self._num_rows(b"chunks")

    def rejection(self, key: ChunkKey) -> str | None:
        """Why that chunk was taken out of service."""
        with self._env.reading() as transaction:
            note = transaction.get(key.digest, db=self._env.tables[b"quarantine"])
            return None if note is None else str(json.loads(bytes(note))["reason"])

    def quarantined(self) -> dict[str, dict[str, str | float]]:
        """Why frames were taken out of service, by key in hex."""
        with self._env.reading() as transaction, transaction.cursor(self._env.tables[b"quarantine"]) as cursor:
            return {bytes(key).hex(): json.loads(bytes(reason)) for key, reason in cursor}

    def write(self, work: Callable[[IndexChange], T]) -> T:
        """What `work` returns, its changes committed; none of them is made when it raises. `work` may run twice.

        A loss of power may undo the last commit, unless `sync` was called.
        """

        def changed(transaction: Transaction) -> T:
            change = IndexChange(transaction, self._env)
            result = work(change)
            change.finish()
            return result

        return self._env.write(changed)

    def sync(self) -> None:
        self._env.sync()

    def file_bytes(self) -> int:
        return self._env.file_bytes()

    def close(self) -> None:
        """A writer leaves the index sealed, where it can be brought to the disk."""
        with suppress(TierUnavailable, OSError):
            if self._writable:
                self._env.sync()
                seal(self._env.path)
        self._env.close()
