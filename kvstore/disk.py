"""DiskTier: frames in a directory, durable when acknowledged.

    writer.lock     one process writes, any number read
    index/          what is held and where, in LMDB: `index_rows.py`
    segments/       the frames, in files that are only appended to: `segment_record.py`, `segments.py`
    profiles/       what decodes them, so that a copy of the directory is all another machine needs

docs/format.md describes the bytes. A killed writer, or a loss of power, loses nothing that was acknowledged.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TypeVar

from kvstore.background import Background
from kvstore.disk_index import DiskIndex
from kvstore.disk_log import DiskLog
from kvstore.disk_reader import DiskReader
from kvstore.errors import InvalidRequest, TierUnavailable
from kvstore.grouping import groups
from kvstore.index_change import Budget, IndexChange
from kvstore.index_rows import Located
from kvstore.key import ChunkKey
from kvstore.ledger import used_at_s
from kvstore.lmdb_env import DamagedFile
from kvstore.metrics import Metrics
from kvstore.recovery import recover
from kvstore.segment_cleaning import make_space
from kvstore.segment_record import RecordHeader, checksum, padded, record_bytes
from kvstore.segments import Place
from kvstore.tier import NO_TERMS, Entry, Frame, Terms
from kvstore.uses import Uses, write_uses
from kvstore.writer_lock import BlockingWriter, lock_directory

_log = logging.getLogger(__name__)
T = TypeVar("T")
_Group = Sequence[tuple[ChunkKey, Frame]]
_MIN_SEGMENT_BYTES, _MAX_SEGMENT_BYTES = 4 << 20, 256 << 20
_SEGMENTS = 64  # that make up the capacity
_EXTRA_BYTES = 64 << 20
_MAX_USES = 4096  # before they are written without a put
_SWEEP_CHUNKS = 100  # expired ones, dropped with every group that is written
_EVICT_AT_ONCE = 5000


class DiskTier(DiskReader):
    """The writer of a directory. `capacity_bytes` bounds the frames.

    Segments may be a quarter longer and 64 MiB, and, where one frame is longer than a segment (a 64th of
    the capacity; 4 to 256 MiB), by that frame. Frames of less than 32 KiB fill that before they fill the
    capacity, since a record is a page longer than its frame; then it is less of them that are held. The
    index, some 300 bytes a chunk, and profiles come on top.

    Who goes first: what has expired, then what was used longest ago, of what no chunk that is held needs.
    """

    durable = True

    def __init__(
        self,
        path: Path | str,
        capacity_bytes: int,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.time,
        quotas: Mapping[str, int] | None = None,
        evicts: bool = True,
    ) -> None:
        """Opens or creates the directory. A damaged index is set aside and made anew; `quotas` are bytes by tenant.

        Unless it `evicts`, what does not fit is declined.

        Raises TierUnavailable when another process writes the directory, or it cannot be written, and
        InvalidRequest when the budget or a quota is not positive.
        """
        for name, given in {"capacity_bytes": capacity_bytes, **(quotas or {})}.items():
            if given <= 0:
                raise InvalidRequest(f"{name} is {given}; a tier needs a positive budget")
        record_bytes = capacity_bytes * 9 // 8 + _EXTRA_BYTES // 4
        self._budget = Budget(capacity_bytes, record_bytes, dict(quotas or {}), evicts)
        self._limit_bytes = capacity_bytes * 5 // 4 + _EXTRA_BYTES
        self._metrics, self._uses = metrics or Metrics(), Uses()
        self._writing, self._pid = threading.Lock(), os.getpid()
        self._background = Background(threads=1, most=1)
        self._lock = lock_directory(Path(path), "index", "segments")
        try:
            with _errors_named(Path(path)):
                try:
                    self._open(Path(path), clock)
                except DamagedFile as error:
                    _set_aside(Path(path) / "index", error)
                    self._open(Path(path), clock)
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self, path: Path, clock: Callable[[], float]) -> None:
        segment_bytes = min(max(self._budget.capacity_bytes // _SEGMENTS, _MIN_SEGMENT_BYTES), _MAX_SEGMENT_BYTES)
        index = DiskIndex(path / "index", writable=True)
        try:
            self._use(path, index, clock)
            known = index.segments()
            self._log = DiskLog(index, self._segments, padded(segment_bytes), known)
            recover(self._log, known)
            while self._commit(self._shrink) == _EVICT_AT_ONCE:  # a lowered budget
                pass
        except BaseException:
            index.close()
            raise

    def _shrink(self, change: IndexChange) -> int:
        return change.shrink(self._budget, self._clock(), _EVICT_AT_ONCE)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One change at a time, in the process that opened the tier."""
        if os.getpid() != self._pid:
            raise TierUnavailable(f"{self._path} was opened before a fork: open the store again in the child")
        with self._writing:
            if self._lock < 0:
                raise TierUnavailable(f"{self._path} is closed")
            with _errors_named(self._path):
                yield

    def _commit(self, work: Callable[[IndexChange], T]) -> T:
        """What `work` returns, when its changes and the uses noted until now are in the index."""
        uses, now_s = self._uses.taken(), self._clock()

        def work_and_more(change: IndexChange) -> tuple[T, int]:
            write_uses(change, uses)
            change.drop_expired(now_s, at_most=_SWEEP_CHUNKS)
            return work(change), change.evicted

        result, evicted = self._log.commit(work_and_more)
        self._uses.written(uses)
        self._metrics.count("chunks_evicted", evicted)
        return result

    def put(
        self, entries: Sequence[tuple[ChunkKey, Frame]], prefix: Sequence[ChunkKey] = (), terms: Terms = NO_TERMS
    ) -> int:
        prompt, stored = [*prefix, *(key for key, _ in entries)], 0
        with self._changing():
            self._uses.note(prefix, self._clock(), hits=0)
            for group in groups(entries, lambda chunk: record_bytes(len(chunk[1])), self._log.group_bytes):
                try:
                    fitted = self._put_group(group, prompt, len(prefix) + stored, terms)
                except (OSError, TierUnavailable):
                    if not stored:
                        raise
                    break
                stored += fitted
                if fitted < len(group):
                    break
        return stored

    def _put_group(self, group: _Group, prompt: Sequence[ChunkKey], num_before: int, terms: Terms) -> int:
        """Makes room, writes what fits in one transaction, and returns how many frames that is.

        `num_before` chunks of the prompt stand before the group.
        """
        keep, now_s = {*prompt, *self.spared}, self._clock()
        sizes = [len(frame) for _, frame in group if len(frame) <= self._budget.capacity_bytes]
        num_bytes = sum(map(record_bytes, sizes))
        make_space(self._log, num_bytes, self._limit_bytes)

        def put_those_that_fit(change: IndexChange) -> int:
            self._log.writer.begin(num_bytes)
            for index, (key, frame) in enumerate(group):
                change.drop(key)
                needed = len(frame), record_bytes(len(frame))
                if not change.make_room(self._budget, *needed, terms.tenant, keep, now_s):
                    for declined, _ in group[index:]:
                        change.drop(declined)
                    return index
                place = num_before + index
                parent = prompt[place - 1] if place else None
                entry = Entry(key, len(frame), now_s, used_at_s(place, now_s), 0, terms, parent)
                change.add(Located(entry, self._stage(entry, frame)))
            return len(group)

        return self._commit(put_those_that_fit)

    def _stage(self, entry: Entry, frame: Frame) -> Place:
        digest = checksum(frame)
        header = RecordHeader(entry.key, entry.size_bytes, digest, entry.saved_at_s, entry.terms, entry.parent)
        return self._log.writer.stage(header, frame)

    @property
    def capacity_bytes(self) -> int:
        return self._budget.capacity_bytes

    def delete(self, key: ChunkKey) -> bool:
        with self._changing():
            now_s = self._clock()
            dropped = self._commit(lambda change: change.drop(key))
            self._forget([dropped])
            return dropped is not None and dropped.entry.terms.expires_at_s > now_s

    def quarantine(self, key: ChunkKey, reason: str) -> None:
        with self._changing():
            self._forget([self._commit(lambda change: change.quarantine(key, reason))])

    def _forget(self, dropped: Sequence[Located | None]) -> None:
        """No loss of power, or of the index, brings back what was dropped for good."""
        self._index.sync()
        for each in dropped:
            if each is not None:
                self._segments.forget(each.place)

    def _reject(self, key: ChunkKey) -> None:
        self._metrics.count("chunks_corrupt")
        with suppress(TierUnavailable):
            super()._reject(key)

    def delete_all(self, keys: Sequence[ChunkKey]) -> int:
        """In one transaction."""
        with self._changing():
            now_s = self._clock()
            dropped = self._commit(lambda change: [change.drop(key) for key in keys])
            self._forget(dropped)
            return sum(each is not None and each.entry.terms.expires_at_s > now_s for each in dropped)

    def touch(self, keys: Sequence[ChunkKey]) -> None:
        """Remembered in memory and written with the next change, after some thousand of them, or on close.

        Waits for nothing to be written.
        """
        self._uses.note(keys, self._clock(), hits=1)
        if len(self._uses) > _MAX_USES:
            self._background.submit(self._write_uses)

    def _write_uses(self) -> None:
        try:
            with self._changing():
                self._commit(lambda change: None)
        except TierUnavailable as error:
            _log.warning("hits are forgotten, since they cannot be written: %s", error)
            self._uses.written(self._uses.taken())

    def pin(self, keys: Sequence[ChunkKey], pinned: bool = True) -> int:
        """Durable when it returns."""
        with self._changing():
            now_s = self._clock()
            num_held = self._commit(lambda change: change.pin(keys, pinned, now_s))
            self._index.sync()
            return num_held

    def entry(self, key: ChunkKey) -> Entry | None:
        entry = super().entry(key)
        return self._uses.of(entry) if entry else None

    def entries(self) -> Iterator[Entry]:
        return map(self._uses.of, super().entries())

    def keep_profile(self, fingerprint: str, content: bytes) -> bool:
        with self._changing():
            self._profiles.keep(fingerprint, content)
        return True

    def drop_profile(self, fingerprint: str) -> None:
        """Forgets a profile, damaged or not: frames that need it are misses until it is kept again."""
        with self._changing():
            self._profiles.delete(fingerprint)

    def close(self) -> None:
        if os.getpid() == self._pid:
            self._background.close()
        with self._writing if os.getpid() == self._pid else nullcontext():
            if self._lock >= 0 and os.getpid() == self._pid:
                self._close()
            elif self._lock >= 0:
                os.close(self._lock)
            self._lock = -1

    def _close(self) -> None:
        try:
            with _errors_named(self._path):
                self._commit(lambda change: None)
        except TierUnavailable as error:
            _log.warning("hit counts were not written: %s", error)
        self._log.close()
        os.close(self._lock)


def open_disk(
    path: Path | str,
    capacity_bytes: int,
    metrics: Metrics | None = None,
    quotas: Mapping[str, int] | None = None,
    writes: bool = True,
) -> DiskTier | DiskReader:
    """The directory's writer, or, when another process is that already, or it is not to be written, a reader of it."""
    try:
        tier = DiskTier(path, capacity_bytes, metrics=metrics, quotas=quotas)
    except BlockingWriter:
        if writes:
            _log.warning("%s is written by another process: this one reads it and saves nothing there", path)
        return DiskReader(path)
    if writes:
        return tier
    tier.close()  # now there is something to read
    return DiskReader(path)


@contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TierUnavailable(f"{path}: {error}") from error


def _set_aside(index: Path, error: DamagedFile) -> None:
    aside = index.with_name(f"index.damaged-{time.time_ns()}")
    index.rename(aside)
    index.mkdir()
    _log.warning("%s cannot be read (%s): moved to %s, made anew from the segments", index, error, aside.name)
