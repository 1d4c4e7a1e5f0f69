"""DiskLog: the segments of a directory and the index over them, changed as one.

Records are on the disk before the index says so, and a segment is unlinked after the index has nothing in it:
whatever ends the process, the index points at what is there, and what it does not know yet lies behind what
it knows of a segment, where `recover` finds it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from kvstore.disk_index import DiskIndex
from kvstore.errors import TierUnavailable
from kvstore.index_change import IndexChange
from kvstore.key import ChunkKey
from kvstore.segment_writer import SegmentWriter
from kvstore.segments import Segments

_log = logging.getLogger(__name__)
T = TypeVar("T")
_GROUP_BYTES = 32 << 20  # large enough to write at the disk's speed, small enough to wait for
_CHUNKS_AT_ONCE = 5000  # far below what one transaction of LMDB can change


class DiskLog:
    """What the one writer of a directory writes with. Raises OSError and TierUnavailable. Not safe in threads."""

    def __init__(
        self, index: DiskIndex, segments: Segments, segment_bytes: int, known: Mapping[int, tuple[int, int]]
    ) -> None:
        """`known` is what the index says of the segments (`DiskIndex.segments`)."""
        self.index, self.segments, self.segment_bytes = index, segments, segment_bytes
        self.group_bytes = min(_GROUP_BYTES, segment_bytes)
        left = {segment: length for segment, (length, _) in known.items()}
        left.pop(max(left, default=0), None)  # the last one the index knows may have been written to since
        self.writer = SegmentWriter(segments, segments.lengths(left), segment_bytes)
        self._gone: list[int] = []  # unlinked, and still in the index

    def commit(self, work: Callable[[IndexChange], T]) -> T:
        """What `work` returns, once the records it staged and the changes it made are durable; or nothing is.

        `work` may run twice. A loss of power may undo the changes, though not the records, until `index.sync`.
        """

        def durable(change: IndexChange) -> tuple[T, list[int]]:
            self.writer.rewind()
            for segment in self._gone:
                change.drop_segment(segment)
            result = work(change)
            self.writer.flush()
            return result, change.emptied()

        try:
            result, emptied = self.index.write(durable)
        except BaseException:
            self.writer.rewind()
            raise
        self.writer.commit()
        self._gone = []
        for segment in emptied:
            self.remove(segment)
        return result

    def remove(self, segment: int) -> None:
        """Unlinks a segment in which nothing lives, unless it is the one being written."""
        if segment == self.writer.active:
            return
        try:
            self.index.sync()  # or a loss of power takes the move out of it, and with it hits and pins of what moved
            self.writer.remove(segment)
        except (OSError, TierUnavailable) as error:  # tried again when space is needed
            _log.warning("a segment in which nothing lives stays: %s", error)
        else:
            self._gone.append(segment)

    def drop(self, keys: Sequence[ChunkKey]) -> None:
        """Forgets any number of chunks."""
        for start in range(0, len(keys), _CHUNKS_AT_ONCE):
            self.commit(partial(_drop_all, keys=keys[start : start + _CHUNKS_AT_ONCE]))

    def drop_beyond(self, lengths: Mapping[int, int]) -> int:
        """Forgets the chunks whose records end behind these lengths of their segments; returns how many."""
        lost = [
            located.entry.key
            for located in self.index.chunks()
            if located.place.segment in lengths
            and located.place.offset + located.record_bytes > lengths[located.place.segment]
        ]
        self.drop(lost)
        return len(lost)

    def close(self) -> None:
        self.writer.close()
        self.index.close()


def _drop_all(change: IndexChange, keys: Sequence[ChunkKey]) -> None:
    for key in keys:
        change.drop(key)
