"""Files read and written past the page cache (O_DIRECT), and through it where the file system refuses.

The RAM tier is the cache; a second copy of each frame in the kernel's would cost memory and 15 times the CPU.
Offsets, lengths and buffers are multiples of PAGE_BYTES throughout.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np

from kvstore.buffers import Bytes, ReadBuffers, aligned_buffer
from kvstore.segment_record import PAGE_BYTES


class DirectIO:
    """How the files of one directory are opened, read and written. Errors are OSError. Safe in threads."""

    def __init__(self) -> None:
        self.direct = hasattr(os, "O_DIRECT")
        self._buffers = ReadBuffers()

    def open(self, path: Path, flags: int) -> int:
        """A descriptor: direct, or buffered where that is refused."""
        if self.direct:
            try:
                return os.open(path, flags | os.O_DIRECT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                self._accept_refusal(error)
        return os.open(path, flags | os.O_CLOEXEC, 0o600)

    def probe(self, path: Path) -> None:
        """Writes a page of zeros at the start of a new file, to learn whether direct I/O is taken there."""
        if not self.direct:
            return
        descriptor = self.open(path, os.O_RDWR)
        try:
            os.pwrite(descriptor, aligned_zeros().data, 0)
        except OSError as error:
            self._accept_refusal(error)
        finally:
            os.close(descriptor)

    def _accept_refusal(self, error: OSError) -> None:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise error
        self.direct = False

    def read(self, path: Path, offset: int, num_bytes: int) -> Bytes | None:
        """Bytes [offset, offset + num_bytes) of a file; None when it is not that long. Nothing holds the GIL."""
        direct = self.direct
        descriptor = self.open(path, os.O_RDONLY)
        try:
            if os.fstat(descriptor).st_size < offset + num_bytes:
                return None
            found = self._read(descriptor, offset, num_bytes)
            if not self.direct:
                os.posix_fadvise(descriptor, offset, num_bytes, os.POSIX_FADV_DONTNEED)
        except OSError as error:
            if not direct:
                raise
            self._accept_refusal(error)
            return self.read(path, offset, num_bytes)
        finally:
            os.close(descriptor)
        return found

    def _read(self, descriptor: int, offset: int, num_bytes: int) -> Bytes | None:
        if (lent := self._buffers.lend(num_bytes)) is not None:
            return lent if read_into(descriptor, lent, offset) == num_bytes else None
        with self._buffers.taken() as buffer:
            return _read_through(buffer, descriptor, offset, num_bytes)


def aligned_zeros() -> Bytes:
    """One page of them."""
    page = aligned_buffer(PAGE_BYTES)
    page[:] = 0
    return page


def _read_through(piece: Bytes, descriptor: int, offset: int, num_bytes: int) -> Bytes | None:
    """A copy of what is read into the piece, one after the other; None when the file ends before."""
    found = np.empty(num_bytes, np.uint8)
    for start in range(0, num_bytes, len(piece)):
        part = piece[: num_bytes - start]
        if read_into(descriptor, part, offset + start) < len(part):
            return None
        np.copyto(found[start : start + len(part)], part)
    return found


def read_into(descriptor: int, buffer: Bytes, offset: int) -> int:
    """Fills the buffer from `offset` on and returns how many bytes there were."""
    done = 0
    while done < len(buffer):
        read = os.preadv(descriptor, [buffer[done:].data], offset + done)
        if not read:
            break
        done += read
    return done


def write_all(descriptor: int, buffer: Bytes, offset: int) -> None:
    """Writes the whole buffer, in as many calls as that takes."""
    done = 0
    while done < len(buffer):
        done += os.pwrite(descriptor, buffer[done:].data, offset + done)


def sync_directory(directory: Path) -> None:
    """Returns when the names in it are on the disk: a file whose name is not is lost with the power."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
