"""DiskReader: reads a directory that another process may be writing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from kvstore.disk_index import DiskIndex
from kvstore.errors import TierUnavailable
from kvstore.index_rows import Located
from kvstore.key import ChunkKey
from kvstore.profile_files import ProfileFiles
from kvstore.segment_record import PAGE_BYTES
from kvstore.segments import Segments
from kvstore.tier import Entry, InFile, ReadOnlyTier
from kvstore.tier_state import TierState

_log = logging.getLogger(__name__)
_DIGESTS = 1 << 16  # of the frames asked for last


class DiskReader(ReadOnlyTier):
    """Declines every put. What it rejected is a miss for itself only.

    It reads the index that was there when it was opened: where a writer has had to make a new one since, it
    sees nothing new until it is opened again, and what it still finds is right.
    """

    name = "disk"

    def __init__(self, path: Path | str, clock: Callable[[], float] = time.time) -> None:
        """Raises TierUnavailable when there is no store in `path`, or it cannot be read."""
        self._use(Path(path), DiskIndex(Path(path) / "index", writable=False), clock)

    def _use(self, path: Path, index: DiskIndex, clock: Callable[[], float]) -> None:
        self._path, self._index, self._clock = path, index, clock
        self._segments = Segments(self._path / "segments")
        self._profiles = ProfileFiles(self._path / "profiles")
        self._digest = lru_cache(_DIGESTS)(self._segments.digest)
        self._rejected: dict[ChunkKey, dict[str, str | float]] = {}

    @property
    def path(self) -> Path:
        """The directory."""
        return self._path

    def match(self, keys: Sequence[ChunkKey]) -> int:
        first_rejected = next((index for index, key in enumerate(keys) if key in self._rejected), len(keys))
        return self._index.match(keys[:first_rejected], self._clock())

    def _find(self, key: ChunkKey) -> Located | None:
        return self._find_each([key])[0]

    def _find_each(self, keys: Sequence[ChunkKey]) -> list[Located | None]:
        now_s, found = self._clock(), self._index.find_each(keys)
        return [
            located if located and located.entry.terms.expires_at_s > now_s and key not in self._rejected else None
            for key, located in zip(keys, found, strict=True)
        ]

    def get(self, key: ChunkKey) -> memoryview | None:
        """The frame, checked. One that is damaged is quarantined."""
        located = self._find(key)
        while located is not None:
            frame = self._read(located)
            if frame is not None:
                return frame
            before, located = located, self._find(key)  # replaced, moved or dropped while it was read
            if located is not None and located.place == before.place:
                self._reject(key)
                return None
        return None

    def _read(self, located: Located) -> memoryview | None:
        try:
            return self._segments.read(located.place, located.entry.key, located.entry.size_bytes)
        except OSError as error:
            raise TierUnavailable(f"{self._path} cannot be read: {error}") from error

    def _reject(self, key: ChunkKey) -> None:
        _log.warning("chunk %s is taken out of service: its record in %s is damaged", key, self._path)
        self.quarantine(key, "its record on disk is damaged")

    def peek(self, key: ChunkKey, num_bytes: int) -> memoryview | None:
        """As `Tier.peek`, without reading the rest."""
        located = self._find(key)
        if located is None:
            return None
        try:
            return self._segments.peek(located.place, key, located.entry.size_bytes, num_bytes)
        except OSError as error:
            raise TierUnavailable(f"{self._path} cannot be read: {error}") from error

    def entry(self, key: ChunkKey) -> Entry | None:
        located = self._find(key)
        return located.entry if located else None

    def where(self, key: ChunkKey) -> str | None:
        """The segment file, and the byte at which the frame's record begins in it."""
        located = self._find(key)
        if located is None:
            return None
        path = self._segments.path(located.place.segment).relative_to(self._path)
        return f"{path} at {located.place.offset}"

    def in_files(self, keys: Sequence[ChunkKey]) -> list[InFile | None]:
        """Reads the page before each frame, unless it was asked for lately."""
        try:
            return [None if located is None else self._placed(located) for located in self._find_each(keys)]
        except OSError as error:
            raise TierUnavailable(f"{self._path} cannot be read: {error}") from error

    def _placed(self, located: Located) -> InFile | None:
        place, size_bytes = located.place, located.entry.size_bytes
        digest = self._digest(place, located.entry.key, size_bytes)
        if digest is None:
            return None
        return InFile(self._segments.path(place.segment), place.offset + PAGE_BYTES, size_bytes, digest)

    def entries(self) -> Iterator[Entry]:
        now_s = self._clock()
        entries = (located.entry for located in self._index.chunks())
        return (entry for entry in entries if entry.terms.expires_at_s > now_s and entry.key not in self._rejected)

    @property
    def size_bytes(self) -> int:
        """Bytes of all frames held, of which some may have expired."""
        return self._index.size_bytes()

    @property
    def num_chunks(self) -> int:
        return self._index.num_chunks()

    def states(self) -> list[TierState]:
        return [replace(state, place=str(self._path)) for state in super().states()]

    @property
    def file_bytes(self) -> int:
        """Bytes the directory takes on disk."""
        try:
            return self._index.file_bytes() + self._segments.file_bytes() + self.profile_bytes
        except OSError as error:
            raise TierUnavailable(f"{self._path} cannot be read: {error}") from error

    def quarantine(self, key: ChunkKey, reason: str) -> None:
        self._rejected[key] = {"reason": reason, "at_s": self._clock()}

    def quarantined(self) -> dict[str, dict[str, str | float]]:
        """Frames taken out of service, by the writer or by this reader, and why, by key in hex."""
        return self._index.quarantined() | {str(key): note for key, note in self._rejected.items()}

    def rejection(self, key: ChunkKey) -> str | None:
        own = self._rejected.get(key)
        return str(own["reason"]) if own else self._index.rejection(key)

    def profile(self, fingerprint: str) -> bytes | None:
        return self._profiles.read(fingerprint)

    def profiles(self) -> list[str]:
        return self._profiles.fingerprints()

    @property
    def profile_bytes(self) -> int:
        """Bytes of all profiles held."""
        return self._profiles.size_bytes()

    def close(self) -> None:
        self._index.close()
