"""LmdbEnvironment: an LMDB environment and its tables, opened and used by the rules. The only file that calls lmdb.

Views into the map never leave a transaction: they change, or fault, once it ends. An environment opened before
a fork is not used in the child. A map that another process has grown is mapped anew; while that happens, and
while it is grown here, no transaction of this process may be open, which is what `_mapping` is for.
"""

from __future__ import annotations

import json
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import lmdb
from lmdb.verify import VerifyError, verify

from kvstore.errors import TierUnavailable

T = TypeVar("T")
Transaction = lmdb.Transaction

_MAX_READERS = 512
_LEAST_MAP_BYTES = 64 << 20
_CHECK_READERS_EVERY_S = 60.0
_MARK = "damaged"  # a file beside LMDB's: damage was met, so the next writer does not open this
_DAMAGE = (
    lmdb.InvalidError,
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
    lmdb.PanicError,
    struct.error,
    UnicodeError,
    json.JSONDecodeError,
)


class DamagedFile(TierUnavailable):
    """The file is no LMDB file, or no longer: it will not get better by waiting."""


class LmdbEnvironment:
    """One open environment. Errors of lmdb come out as TierUnavailable, with the path in the message."""

    def __init__(
        self, path: Path, tables: Sequence[bytes], map_bytes: int | None, metasync: bool = True, sync: bool = True
    ) -> None:
        """Opens for writing with room for `map_bytes`, as far as the address space has it, or for reading when None.

        Without `metasync` a loss of power may take the last commit with it, until `sync` is called. Without `sync`
        it may damage the file; the end of the process never does.
        """
        self.path, self._pid, create = path, os.getpid(), map_bytes is not None
        self._mark = path / _MARK if create else None
        if self._mark and self._mark.exists():
            raise DamagedFile(f"{path} was found damaged when it was last written")
        self._mapping = threading.Lock()
        self._readers_checked_at_s = time.monotonic()
        with self._errors_named():
            self._env = _open(path, map_bytes, len(tables), metasync, sync)
        try:
            with self._errors_named():
                self._env.reader_check()  # slots of killed readers would pin pages for ever
                self._check_length()
                self.tables = {name: self._env.open_db(name, create=create) for name in tables}
        except TierUnavailable:
            self._env.close()
            raise

    def _check_length(self) -> None:
        """A file cut short would kill the process (SIGBUS) at the first page beyond its end."""
        needed = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
        if (length := self.file_bytes()) < needed:
            raise DamagedFile(f"{self.path}: data.mdb is {length} bytes long and should be {needed}")

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGE as error:
            if self._mark:
                with suppress(OSError):
                    self._mark.touch()
            raise DamagedFile(f"{self.path}: {error}") from error
        except (lmdb.Error, OSError) as error:
            raise TierUnavailable(f"{self.path}: {error}") from error

    def _require_own_process(self) -> None:
        if os.getpid() != self._pid:
            raise TierUnavailable(f"{self.path} was opened before a fork: open the store again in the child")

    @contextmanager
    def transaction(self, write: bool = False) -> Iterator[lmdb.Transaction]:
        """Values come as views. For environments whose map never grows."""
        self._require_own_process()
        with self._errors_named(), self._env.begin(write=write, buffers=True) as transaction:
            yield transaction

    @contextmanager
    def reading(self) -> Iterator[lmdb.Transaction]:
        """A short read: one at a time in this process. Values come as bytes."""
        self._require_own_process()
        with self._mapping, self._errors_named():
            try:
                transaction = self._env.begin()
            except lmdb.MapResizedError:
                self._env.set_mapsize(0)  # as large as the file says
                transaction = self._env.begin()
            with transaction:
                yield transaction

    def write(self, work: Callable[[lmdb.Transaction], T]) -> T:
        """What `work` returns, once all it did is committed; nothing is when it raises.

        Where the map is full, that is undone, the map is doubled, and `work` is called again.
        """
        self._require_own_process()
        self._check_readers()
        with self._errors_named():
            while True:
                try:
                    return self._commit(work)
                except lmdb.MapFullError:
                    with self._mapping:
                        self._env.set_mapsize(2 * self._env.info()["map_size"])

    def _commit(self, work: Callable[[lmdb.Transaction], T]) -> T:
        with self._env.begin(write=True) as transaction:
            return work(transaction)

    def _check_readers(self) -> None:
        if time.monotonic() - self._readers_checked_at_s > _CHECK_READERS_EVERY_S:
            self._readers_checked_at_s = time.monotonic()
            with self._errors_named():
                self._env.reader_check()

    def sync(self) -> None:
        """Returns when the last commit is on the disk, whatever happens to the power."""
        self._require_own_process()
        with self._errors_named():
            self._env.sync(True)

    def file_bytes(self) -> int:
        """Length of the file on disk."""
        return (self.path / "data.mdb").stat().st_size

    def close(self) -> bool:
        """False in a forked child, which leaves it to its parent."""
        if os.getpid() != self._pid:
            return False
        self._env.close()
        return True


def structural_problem(path: Path) -> str | None:
    """What is wrong with the pages of a file that nobody has open: LMDB itself may abort the process over it."""
    try:
        problems = verify(str(path), subdir=True)
    except (VerifyError, OSError) as error:
        return str(error)
    return str(problems[0]) if problems else None


def _open(path: Path, map_bytes: int | None, num_tables: int, metasync: bool, sync: bool) -> lmdb.Environment:
    create, map_size = map_bytes is not None, (map_bytes or 0) // 4096 * 4096
    while True:
        try:
            return lmdb.open(
                str(path),
                map_size=map_size,
                readonly=not create,
                create=create,
                max_dbs=num_tables,
                max_readers=_MAX_READERS,
                meminit=False,
                metasync=metasync,
                sync=sync,
            )
        except lmdb.MemoryError:
            if map_size <= _LEAST_MAP_BYTES:
                raise
            map_size //= 2
