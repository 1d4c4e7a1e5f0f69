"""Segments: the files that hold records, `segments/<16 hex digits>.seg`, read, scanned and removed.

The number in a name grows from file to file and never comes back, so that files in the order of their
names, each from its start, are the order in which records were written. A file is only ever appended to,
then unlinked as a whole: whoever has it open reads on undisturbed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from kvstore.direct_io import DirectIO, aligned_zeros
from kvstore.key import ChunkKey
from kvstore.segment_record import PAGE_BYTES, RecordHeader, checksum, record_bytes, unpack_header

_NAME = re.compile(r"[0-9a-f]{16}\.seg", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a record begins: byte `offset`, a multiple of PAGE_BYTES, of a segment. Later records are greater."""

    segment: int
    offset: int


class Segments:
    """One directory of segment files. Raises OSError only."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.io = DirectIO()

    def path(self, segment: int) -> Path:
        return _path(self.directory, segment)

    def lengths(self, known: Mapping[int, int] | None = None) -> dict[int, int]:
        """Bytes of each file that is there, in the order in which they were begun.

        Those of which the length is known are not asked for it: that is most of the time it takes.
        """
        known, there = known or {}, {}
        with os.scandir(self.directory) as files:
            for file in files:
                if _NAME.fullmatch(file.name):
                    segment = int(file.name[:16], 16)
                    there[segment] = known[segment] if segment in known else file.stat().st_size
        return dict(sorted(there.items()))

    def file_bytes(self) -> int:
        """Bytes they take on disk; the one being written is longer, and mostly a hole."""
        return sum(512 * self.path(segment).stat().st_blocks for segment in self.lengths())

    def read(self, place: Place, key: ChunkKey, size_bytes: int) -> memoryview | None:
        """The frame recorded there, read-only; None when there is no whole record of that key and size."""
        found = self._begun(place, key, size_bytes, size_bytes)
        if found is None:
            return None
        header, payload = found
        return payload if checksum(payload) == header.payload_xxh3 else None

    def digest(self, place: Place, key: ChunkKey, size_bytes: int) -> bytes | None:
        """XXH3-128 of the frame recorded there, as its header has it; None as `read`."""
        found = self._begun(place, key, size_bytes, 0)
        return None if found is None else found[0].payload_xxh3

    def peek(self, place: Place, key: ChunkKey, size_bytes: int, num_bytes: int) -> memoryview | None:
        """The first `num_bytes` of a frame, unchecked: its payload's checksum is over all of it."""
        found = self._begun(place, key, size_bytes, min(num_bytes, size_bytes))
        return None if found is None else found[1]

    def _begun(
        self, place: Place, key: ChunkKey, size_bytes: int, num_bytes: int
    ) -> tuple[RecordHeader, memoryview] | None:
        """The header of the record of that key and size, if it is there, and the first `num_bytes` of its frame."""
        try:
            record = self.io.read(self.path(place.segment), place.offset, record_bytes(num_bytes))
        except FileNotFoundError:
            return None
        header = None if record is None else unpack_header(record[:PAGE_BYTES].tobytes())
        if record is None or header is None or (header.key, header.size_bytes) != (key, size_bytes):
            return None
        return header, record[PAGE_BYTES : PAGE_BYTES + num_bytes].data.toreadonly()

    def scan(self, segment: int, start: int) -> Iterator[tuple[Place, RecordHeader]]:
        """Records with a sound header from `start` on. Damage is stepped over a page at a time, holes at once."""
        descriptor = os.open(self.path(segment), os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
            end, offset = os.fstat(descriptor).st_size, start
            while (offset := _next_written(descriptor, offset, end)) < end:
                header = unpack_header(os.pread(descriptor, PAGE_BYTES, offset))
                if header is not None and offset + record_bytes(header.size_bytes) <= end:
                    yield Place(segment, offset), header
                    offset += record_bytes(header.size_bytes)
                else:
                    offset += PAGE_BYTES
        finally:
            os.close(descriptor)

    def forget(self, place: Place) -> None:
        """Overwrites a record's header, so that no scan brings back what was deleted."""
        with suppress(FileNotFoundError):
            descriptor = self.io.open(self.path(place.segment), os.O_WRONLY)
            try:
                os.pwrite(descriptor, aligned_zeros().data, place.offset)
            finally:
                os.close(descriptor)

    def remove(self, segment: int) -> None:
        self.path(segment).unlink(missing_ok=True)


@lru_cache(4096)
def _path(directory: Path, segment: int) -> Path:
    return directory / f"{segment:016x}.seg"


def _next_written(descriptor: int, offset: int, end: int) -> int:
    """The first page at or behind `offset` that is no hole in the file; `end` when there is none."""
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA) // PAGE_BYTES * PAGE_BYTES if offset < end else end
    except OSError:  # nothing but a hole
        return end
