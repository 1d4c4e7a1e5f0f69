"""LmdbTier: frames as values in LMDB, the simple control beside DiskTier, and the reader of what others write.

One process writes a directory (it holds `writer.lock`); any number read it. LMDB's transactions make a killed
writer harmless: a commit is there whole or not at all. Beside them lie the profiles that decode them.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from kvstore.errors import TierUnavailable
from kvstore.eviction import LRU, EvictionPolicy
from kvstore.grouping import groups
from kvstore.key import ChunkKey
from kvstore.ledger import Ledger, used_at_s
from kvstore.lmdb_env import DamagedFile
from kvstore.lmdb_frames import LmdbFrames
from kvstore.metrics import Metrics
from kvstore.profile_files import ProfileFiles
from kvstore.tier import NO_TERMS, Entry, Frame, ReadOnlyTier, Terms, Tier
from kvstore.writer_lock import lock_directory

_log = logging.getLogger(__name__)
_GROUP_BYTES = 64 << 20  # one transaction: large enough to write at the disk's speed, far below LMDB's limit
_MAP_SLACK = 1.25  # free pages between frames: LMDB was measured to need 1.12 under churn
_MAP_EXTRA_BYTES = 64 << 20


class LmdbReader(ReadOnlyTier):
    """Reads a directory that another process may be writing. Declines every put."""

    name = "lmdb"

    def __init__(self, path: Path | str, clock: Callable[[], float] = time.time) -> None:
        """Raises TierUnavailable when there is no store in `path`, or it cannot be read."""
        self._clock = clock
        self._frames = LmdbFrames(Path(path) / "frames", map_bytes=None)
        self._profiles = ProfileFiles(Path(path) / "profiles")
        self._rejected: set[ChunkKey] = set()

    def match(self, keys: Sequence[ChunkKey]) -> int:
        first_rejected = next((index for index, key in enumerate(keys) if key in self._rejected), len(keys))
        return self._frames.match(keys[:first_rejected], self._clock())

    def get(self, key: ChunkKey) -> memoryview | None:
        return self._frames.get(key) if self.entry(key) else None

    def entry(self, key: ChunkKey) -> Entry | None:
        entry = None if key in self._rejected else self._frames.entry(key)
        return entry if entry and entry.terms.expires_at_s > self._clock() else None

    def peek(self, key: ChunkKey, num_bytes: int) -> memoryview | None:
        """As `Tier.peek`, without reading the rest."""
        return self._frames.get(key, num_bytes)

    def quarantine(self, key: ChunkKey, reason: str) -> None:
        self._rejected.add(key)

    def quarantined(self) -> dict[str, dict[str, str | float]]:
        """Frames the writer took out of service and why, by key in hex."""
        return self._frames.quarantined()

    def profile(self, fingerprint: str) -> bytes | None:
        return self._profiles.read(fingerprint)

    def profiles(self) -> list[str]:
        return self._profiles.fingerprints()

    @property
    def profile_bytes(self) -> int:
        """Bytes of all profiles held."""
        return self._profiles.size_bytes()

    def entries(self) -> Iterator[Entry]:
        now_s = self._clock()
        return (entry for entry in self._frames.entries() if entry.terms.expires_at_s > now_s)

    @property
    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.entries())

    @property
    def file_bytes(self) -> int:
        """Bytes the directory takes on disk."""
        return self._frames.file_bytes() + self.profile_bytes

    def close(self) -> None:
        self._frames.close()


class LmdbTier(Tier):
    """The writer of a directory. `capacity_bytes` bounds the frames; the file may be a quarter larger.

    Profiles come on top: some megabytes for each that the directory was ever written with.
    """

    name = "lmdb"

    def __init__(
        self,
        path: Path | str,
        capacity_bytes: int,
        policy: Callable[[], EvictionPolicy] = LRU,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.time,
        quotas: Mapping[str, int] | None = None,
    ) -> None:
        """Opens or creates the directory. A damaged file is set aside, never served, and reported in the log.

        Raises TierUnavailable when another process writes the directory, or it cannot be written.
        """
        self._path = Path(path)
        self._profiles = ProfileFiles(self._path / "profiles")
        self._capacity_bytes, self._policy, self._quotas = capacity_bytes, policy, quotas
        self._metrics, self._clock = metrics or Metrics(), clock
        self._writing = threading.Lock()  # one transaction at a time
        self._lock = threading.Lock()  # the ledger; never held while the disk works
        self._touched: set[ChunkKey] = set()
        self._ledger = Ledger(capacity_bytes, policy(), quotas)
        self._writer = lock_directory(self._path, "frames")
        try:
            try:
                self._open_frames()
            except DamagedFile as error:
                self._set_aside(error)
                self._open_frames()
        except BaseException:
            os.close(self._writer)
            raise

    def _open_frames(self) -> None:
        map_bytes = int(self._capacity_bytes * _MAP_SLACK) + _MAP_EXTRA_BYTES
        self._frames = LmdbFrames(self._path / "frames", map_bytes)
        try:
            self._reload()
        except BaseException:
            self._frames.close()
            raise

    def _set_aside(self, error: DamagedFile) -> None:
        frames, aside = self._path / "frames", self._path / f"frames.damaged-{time.time_ns()}"
        frames.rename(aside)
        frames.mkdir()
        _log.warning("%s cannot be read (%s): moved to %s, starting empty", frames, error, aside.name)

    def _reload(self) -> None:
        """Takes the ledger from disk, oldest use first; frames over a lowered budget go at once."""
        ledger = Ledger(self._capacity_bytes, self._policy(), self._quotas)
        for entry in sorted(self._frames.entries(), key=lambda entry: entry.used_at_s):
            ledger.add(entry)
        surplus = list(ledger.victims_for(0, "", (), self._clock()))
        with self._lock:
            self._ledger = ledger
        if surplus:
            self._metrics.count("chunks_evicted", len(surplus))
            self._frames.commit(delete=surplus)

    def match(self, keys: Sequence[ChunkKey]) -> int:
        with self._lock:
            return self._ledger.match(keys, self._clock())

    def get(self, key: ChunkKey) -> memoryview | None:
        return self._frames.get(key) if self.entry(key) else None

    def put(
        self, entries: Sequence[tuple[ChunkKey, Frame]], prefix: Sequence[ChunkKey] = (), terms: Terms = NO_TERMS
    ) -> int:
        prompt, stored = [*prefix, *(key for key, _ in entries)], 0
        with self._writing:
            for group in groups(entries, lambda chunk: len(chunk[1]), _GROUP_BYTES):
                try:
                    fitted = self._put_group(group, prompt, len(prefix) + stored, terms)
                except TierUnavailable:
                    self._reload()
                    if not stored:
                        raise
                    break
                stored += fitted
                if fitted < len(group):
                    break
            self._note(prompt, hits=0)
        return stored

    def _put_group(
        self, group: Sequence[tuple[ChunkKey, Frame]], prompt: Sequence[ChunkKey], num_before: int, terms: Terms
    ) -> int:
        """One transaction: makes room, writes what fits, and returns how many frames that is.

        `num_before` chunks of the prompt stand before the group. The ledger is not locked while the disk
        works, so a match never waits for it.
        """
        keep, now_s, reserved_bytes = {*prompt, *self.spared}, self._clock(), 0
        put: list[tuple[Entry, Frame]] = []
        victims: list[ChunkKey] = []
        with self._lock:
            for key, frame in group:
                self._ledger.drop(key)
                needed_bytes = reserved_bytes + len(frame)
                victims += self._ledger.victims_for(needed_bytes, terms.tenant, keep, now_s)
                if not self._ledger.fits(needed_bytes, terms.tenant):
                    break
                reserved_bytes = needed_bytes
                place = num_before + len(put)
                parent = prompt[place - 1] if place else None
                put.append((Entry(key, len(frame), now_s, used_at_s(place, now_s), 0, terms, parent), frame))
            declined = [key for key, _ in group[len(put) :]]
            for key in declined:
                self._ledger.drop(key)
            touched = self._take_touched()
        self._frames.commit(put, touched, [*victims, *declined])
        with self._lock:
            for entry, _ in put:
                self._ledger.add(entry)
        self._metrics.count("chunks_evicted", len(victims))
        return len(put)

    def delete(self, key: ChunkKey) -> bool:
        with self._writing:
            with self._lock:
                held = self._ledger.drop(key)
            if held:
                self._frames.commit(delete=[key])
            return held

    def touch(self, keys: Sequence[ChunkKey]) -> None:
        """Remembered in memory and written with the next put, or on close."""
        self._note(keys, hits=1)

    def pin(self, keys: Sequence[ChunkKey], pinned: bool = True) -> int:
        """Durable with the next put, or on close."""
        with self._lock:
            num_held = self._ledger.match(keys, self._clock())
            for key in keys[:num_held]:
                self._ledger.pin(key, pinned)
            self._touched.update(keys[:num_held])
            return num_held

    def entry(self, key: ChunkKey) -> Entry | None:
        with self._lock:
            return self._ledger.entry(key, self._clock())

    def _note(self, keys: Sequence[ChunkKey], hits: int) -> None:
        with self._lock:
            self._ledger.touch(keys, self._clock(), hits)
            self._touched.update(keys)

    def _take_touched(self) -> list[Entry]:
        """The entries used since this was last asked, those that are still held."""
        touched, self._touched, now_s = self._touched, set(), self._clock()
        entries = (self._ledger.entry(key, now_s) for key in touched)
        return [entry for entry in entries if entry is not None]

    def quarantine(self, key: ChunkKey, reason: str) -> None:
        with self._writing:
            with self._lock:
                self._ledger.drop(key)
            self._frames.quarantine(key, reason)

    def keep_profile(self, fingerprint: str, content: bytes) -> bool:
        with self._writing:
            self._profiles.keep(fingerprint, content)
        return True

    def profile(self, fingerprint: str) -> bytes | None:
        return self._profiles.read(fingerprint)

    def profiles(self) -> list[str]:
        return self._profiles.fingerprints()

    def drop_profile(self, fingerprint: str) -> None:
        """Forgets a profile, damaged or not: frames that need it are misses until it is kept again."""
        with self._writing:
            self._profiles.delete(fingerprint)

    def entries(self) -> Iterator[Entry]:
        with self._lock:
            return iter(self._ledger.entries(self._clock()))

    @property
    def size_bytes(self) -> int:
        return self._ledger.size_bytes

    def close(self) -> None:
        with self._writing:
            if self._writer < 0:
                return
            try:
                self._frames.commit(touch=self._take_touched())
            except TierUnavailable as error:
                _log.warning("hit counts were not written: %s", error)
            self._frames.close()
            os.close(self._writer)
            self._writer = -1
