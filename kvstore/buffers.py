"""Memory for direct I/O: where it begins, how it lies, and who has it."""

from __future__ import annotations

import mmap
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
from numpy.typing import NDArray

from kvstore.segment_record import PAGE_BYTES

Bytes = NDArray[np.uint8]
BUFFER_BYTES = _HUGE_PAGE_BYTES = 2 << 20
_MOST_LENT = 16  # 32 MiB, which stay idle when they have come back
_LEAST_LENT_BYTES = 512 << 10  # what is shorter is soon copied, and would waste most of a buffer


def aligned_buffer(num_bytes: int) -> Bytes:
    """Uninitialized bytes [num_bytes] that begin at a multiple of PAGE_BYTES in memory."""
    room = np.empty(num_bytes + PAGE_BYTES, np.uint8)
    start = -room.ctypes.data % PAGE_BYTES
    return room[start : start + num_bytes]


def contiguous_buffer(num_bytes: int) -> Bytes:
    """Bytes [num_bytes] of zeros in huge pages, where the kernel has them.

    Of pages scattered in memory a disk reads so few at a time that 1 MiB was measured to take twice as long.
    """
    whole_pages = -(-num_bytes // _HUGE_PAGE_BYTES) * _HUGE_PAGE_BYTES
    room = mmap.mmap(-1, whole_pages + _HUGE_PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(AttributeError, OSError):  # none on this system
        room.madvise(mmap.MADV_HUGEPAGE)
    buffer = np.frombuffer(room, np.uint8)
    start = -buffer.ctypes.data % _HUGE_PAGE_BYTES
    return buffer[start : start + num_bytes]


class ReadBuffers:
    """Contiguous buffers [BUFFER_BYTES] to read into, used again and again. Safe in threads.

    A frame stays where it was read, which spares a copy, in a buffer that is lent: it comes back by itself when the
    last view of it is gone. They are few, for whoever keeps frames keeps whole buffers; the others are copied.
    """

    def __init__(self) -> None:
        self._idle: list[Bytes] = []
        # Made when first lent. A list, whose changes are atomic: a finalizer may run anywhere, so it waits for no lock.
        self._lendable: list[Bytes | None] = [None] * _MOST_LENT

    def lend(self, num_bytes: int) -> Bytes | None:
        """The first [num_bytes] of a buffer, the caller's while any view of them is kept; None: take one and copy."""
        if not _LEAST_LENT_BYTES <= num_bytes <= BUFFER_BYTES:
            return None
        try:
            buffer = self._lendable.pop()
        except IndexError:
            return None
        if buffer is None:
            buffer = contiguous_buffer(BUFFER_BYTES)
        lent = np.frombuffer(buffer.data, np.uint8)  # what every view of it, and every view of those, keeps alive
        weakref.finalize(lent, self._lendable.append, buffer).atexit = False
        return lent[:num_bytes]

    @contextmanager
    def taken(self) -> Iterator[Bytes]:
        """For one read: as many are kept as there were reads at once."""
        try:
            buffer = self._idle.pop()
        except IndexError:
            buffer = contiguous_buffer(BUFFER_BYTES)
        try:
            yield buffer
        finally:
            self._idle.append(buffer)
