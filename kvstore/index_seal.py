"""The seal of an index: a checksum of all of `data.mdb`, left beside it by the writer that closes it.

It is the XXH3-128 of the XXH3-128s of the file's pieces of 1 MiB, in order, the last one shorter: so threads hash
it, in two thirds of the time of one where it is in the page cache, and as fast as the disk reads where it is not.
Read, not mapped: where the disk cannot, or somebody cuts the file, that is an error and no signal.

LMDB takes its pages as they are, and ends the process over some that are damaged. So a writer opens no index
that differs from its seal, and breaks the seal before it changes anything; where there is none, because the
last writer died, the pages are looked at one by one, which takes 7 to 20 s for a million chunks.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

import xxhash

from kvstore.buffers import contiguous_buffer
from kvstore.direct_io import read_into, sync_directory
from kvstore.lmdb_env import DamagedFile, structural_problem

_SEAL = "seal"
_SEAL_BYTES = 16
_PIECE_BYTES = 1 << 20
_NUM_THREADS = 4


def seal(index: Path) -> None:
    """Of an index in which nobody writes, and all of which is on the disk. Raises OSError."""
    with (index / _SEAL).open("wb", buffering=0) as file:
        file.write(_checksum(index))
        os.fsync(file.fileno())


def break_seal(index: Path) -> None:
    """Makes sure that an index may be written: it is as it was closed, or fits together. Raises OSError.

    Raises DamagedFile when it does not; then nothing is changed.
    """
    if _is_empty(index):
        return
    sealed = _read(index)
    if sealed is None:
        if problem := structural_problem(index):
            raise DamagedFile(f"{index}: {problem}")
    elif sealed != _checksum(index):
        raise DamagedFile(f"{index} is not as it was closed")
    (index / _SEAL).unlink(missing_ok=True)
    sync_directory(index)


def check_seal(index: Path) -> None:
    """For readers. Raises DamagedFile when nobody writes the index and it is not as it was closed; and OSError."""
    sealed = _read(index)
    if sealed is not None and sealed != _checksum(index) and sealed == _read(index):  # else a writer has begun
        raise DamagedFile(f"{index} is not as it was closed")


def _is_empty(index: Path) -> bool:
    """Whether LMDB would make it anew."""
    try:
        return not (index / "data.mdb").stat().st_size
    except FileNotFoundError:
        return True


def _read(index: Path) -> bytes | None:
    """None where there is none, or it was lost with the power."""
    with suppress(FileNotFoundError):
        content = (index / _SEAL).read_bytes()
        return content if len(content) == _SEAL_BYTES else None
    return None


def _checksum(index: Path) -> bytes:
    with (index / "data.mdb").open("rb", buffering=0) as file, ThreadPoolExecutor(_NUM_THREADS) as threads:
        num_pieces = -(-os.fstat(file.fileno()).st_size // _PIECE_BYTES)
        bounds = [num_pieces * thread // _NUM_THREADS for thread in range(_NUM_THREADS + 1)]
        digests = b"".join(threads.map(partial(_digests, file.fileno()), pairwise(bounds)))
    return xxhash.xxh3_128_digest(digests)


def _digests(descriptor: int, pieces: tuple[int, int]) -> bytes:
    """Of pieces [start, end), one behind the other."""
    buffer = contiguous_buffer(_PIECE_BYTES)
    return b"".join(
        xxhash.xxh3_128_digest(buffer[: read_into(descriptor, buffer, number * _PIECE_BYTES)].data)
        for number in range(*pieces)
    )
