"""The LMDB environment of documents, opened by its one writer. Whatever the last writer came to, it opens.

Commits wait for no disk: an answer is worth less than the 10 ms that takes. A killed writer harms nothing, LMDB's
pages are as it left them. After a loss of power they may not be, nor after a disk erred, and LMDB takes its pages
as they are: so they are compared with the checksum that was left at closing (`kvstore/index_seal.py`), or looked at
one by one where the last writer did not close and the machine was started since (`boot`).
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from kvstore.direct_io import sync_directory
from kvstore.errors import TierUnavailable
from kvstore.index_seal import break_seal, seal
from kvstore.lmdb_env import DamagedFile, LmdbEnvironment
from kvstore.writer_lock import lock_directory
from semantic_cache.document_rows import TABLES, DocumentRows

_log = logging.getLogger(__name__)
_ROOM = "documents"
_MAP_BYTES = 64 << 30  # sparse: address space only; it grows
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class DocumentFile:
    """One open environment, and the lock of its directory."""

    def __init__(self, directory: Path) -> None:
        """A damaged file is set aside, never served, and reported in the log.

        Raises TierUnavailable when the directory cannot be written, BlockingWriter when somebody else writes it.
        """
        self._path = directory / _ROOM
        self._writer = lock_directory(directory, _ROOM)
        try:
            try:
                self._open()
            except DamagedFile as error:
                self._set_aside(error)
                self._open()
        except OSError as error:
            os.close(self._writer)
            raise TierUnavailable(f"{self._path}: {error}") from error
        except BaseException:
            os.close(self._writer)
            raise

    def _open(self) -> None:
        if (self._path / "seal").exists() or not self._is_of_this_boot():
            break_seal(self._path)
        if _BOOT_ID.exists():
            (self._path / "boot").write_bytes(_BOOT_ID.read_bytes())
        self.env = LmdbEnvironment(self._path, TABLES, _MAP_BYTES, sync=False)
        try:
            self.store, self.next_id = self.env.write(
                lambda transaction: DocumentRows(transaction, self.env.tables).begin()
            )
        except BaseException:
            self.env.close()
            raise

    def _is_of_this_boot(self) -> bool:
        with suppress(OSError):
            return (self._path / "boot").read_bytes() == _BOOT_ID.read_bytes()
        return False

    def _set_aside(self, error: DamagedFile) -> None:
        aside = self._path.with_name(f"{_ROOM}.damaged-{time.time_ns()}")
        self._path.rename(aside)
        self._path.mkdir()
        sync_directory(self._path.parent)
        _log.warning("%s cannot be read (%s): moved to %s, starting empty", self._path, error, aside.name)

    def close(self) -> None:
        """Leaves the file sealed, where it can be brought to the disk. Safe to repeat."""
        if self._writer < 0:
            return
        with suppress(TierUnavailable, OSError):
            self.env.sync()
            seal(self._path)
        if self.env.close():
            os.close(self._writer)
        self._writer = -1
