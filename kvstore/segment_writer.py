"""SegmentWriter: appends records to the newest segment, a group at a time, durable before the index says so.

Frames are copied into pieces in huge pages, from which 32 MiB are written in 18 ms and from scattered ones in 31;
a thread writes one piece while the next is filled. A segment file has its full length from the start, as a hole:
on ext4 writing into it is as fast as appending and twice as fast as writing into space that fallocate(2) set aside.
What stays empty is cut off when it is left.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import numpy as np

from kvstore.buffers import Bytes, contiguous_buffer
from kvstore.direct_io import sync_directory, write_all
from kvstore.segment_record import RecordHeader, padded
from kvstore.segments import Place, Segments
from kvstore.tier import Frame

_PIECE_BYTES = 2 << 20
_NUM_PIECES = 8
_NUM_THREADS = 2


class SegmentWriter:
    """The end of a directory's log. `lengths` are the bytes of its files, by segment. Raises OSError only.

    Not safe in threads: its tier lets one put in at a time.
    """

    def __init__(self, segments: Segments, lengths: dict[int, int], segment_bytes: int) -> None:
        self.lengths = lengths
        self.active: int | None = None
        self.tail = 0  # of the active segment: all records before it are in the index
        self._segments, self._segment_bytes = segments, segment_bytes
        self._newest = max(self.lengths, default=0)
        self._descriptor = -1
        self._pieces: list[Bytes] = []
        self._turn, self._filled = 0, 0
        self._sent = 0  # up to where in the file the pieces sent so far reach
        self._writes: list[Future[None]] = []
        self._thread = ThreadPoolExecutor(_NUM_THREADS, "kvstore-write")

    @property
    def room_bytes(self) -> int:
        """What the active segment still takes."""
        return self.lengths[self.active] - self.tail if self.active is not None else 0

    @property
    def total_bytes(self) -> int:
        """Lengths of all segments, holes included."""
        return sum(self.lengths.values())

    def resume(self, segment: int, tail: int) -> None:
        """Goes on behind the last record of a segment that is there."""
        self._descriptor = self._segments.io.open(self._segments.path(segment), os.O_RDWR)
        self.active, self.tail = segment, tail
        self._cut()

    def begin(self, num_bytes: int) -> None:
        """A group of records of that many bytes follows: they go to one segment, a new one where needed."""
        if num_bytes > self.room_bytes:
            self._leave()
            self._start_segment(max(num_bytes, self._segment_bytes))
        self._sent = self.tail

    def stage(self, header: RecordHeader, payload: Frame) -> Place:
        """Adds a record to the group and returns its place. It is durable after `flush`."""
        assert self.active is not None, "begin comes first"
        place = Place(self.active, self._sent + self._filled)
        self._copy(np.frombuffer(header.pack(), np.uint8))
        self._copy(np.frombuffer(payload, np.uint8))
        if unused := padded(len(payload)) - len(payload):
            self._copy(np.zeros(unused, np.uint8))
        return place

    def _copy(self, source: Bytes) -> None:
        if not self._pieces:
            self._pieces = [contiguous_buffer(_PIECE_BYTES) for _ in range(_NUM_PIECES)]
        done = 0
        while done < len(source):
            step = min(len(source) - done, _PIECE_BYTES - self._filled)
            piece = self._pieces[self._turn]
            np.copyto(piece[self._filled : self._filled + step], source[done : done + step])
            self._filled, done = self._filled + step, done + step
            if self._filled == _PIECE_BYTES:
                self._send()

    def _send(self) -> None:
        piece = self._pieces[self._turn][: self._filled]
        self._writes.append(self._thread.submit(write_all, self._descriptor, piece, self._sent))
        self._sent, self._filled = self._sent + self._filled, 0
        self._turn = (self._turn + 1) % _NUM_PIECES
        if len(self._writes) == _NUM_PIECES:  # the piece to fill next must have been written
            self._writes.pop(0).result()

    def flush(self) -> None:
        """Returns when the whole group is on the disk."""
        if self._filled:
            self._send()
        if self._sent == self.tail:
            return
        while self._writes:
            self._writes.pop(0).result()
        os.fdatasync(self._descriptor)
        if not self._segments.io.direct:
            os.posix_fadvise(self._descriptor, 0, self._sent, os.POSIX_FADV_DONTNEED)

    def commit(self) -> None:
        """The index has the group."""
        self.tail = self._sent

    def rewind(self) -> None:
        """The index will not have the group: the next one takes its place."""
        for write in self._writes:
            with suppress(OSError):
                write.result()
        self._writes, self._filled = [], 0
        if self._sent > self.tail:
            self._cut()
        self._sent = self.tail

    def remove(self, segment: int) -> None:
        """Unlinks a segment that is not the active one."""
        self._segments.remove(segment)
        self.lengths.pop(segment, None)

    def _start_segment(self, num_bytes: int) -> None:
        self._newest = segment = max(self._newest + 1, time.time_ns())
        path = self._segments.path(segment)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        self._segments.io.probe(path)
        self._descriptor = self._segments.io.open(path, os.O_RDWR)
        self.active, self.tail, self.lengths[segment] = segment, 0, num_bytes
        with suppress(OSError):  # a limit on file sizes; what is written lengthens the file
            os.ftruncate(self._descriptor, num_bytes)
        sync_directory(self._segments.directory)

    def _leave(self) -> None:
        """Cuts off what was not used, or removes a segment that holds nothing."""
        if self.active is None:
            return
        segment, self.active = self.active, None
        descriptor, self._descriptor = self._descriptor, -1
        with suppress(OSError):
            os.ftruncate(descriptor, self.tail)
        os.close(descriptor)
        self.lengths[segment] = self.tail
        if not self.tail:
            self.remove(segment)
        self.tail = self._sent = 0

    def _cut(self) -> None:
        """Whatever lies behind the tail is a hole again."""
        assert self.active is not None
        length = max(self._segment_bytes, self.tail)
        with suppress(OSError):
            os.ftruncate(self._descriptor, self.tail)
            os.ftruncate(self._descriptor, length)
        self.lengths[self.active] = length

    def close(self) -> None:
        self._thread.shutdown()
        self._leave()
