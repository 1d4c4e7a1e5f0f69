"""The seal of an index: the XXH3-128 of `data.mdb`, left beside it by the writer that closes it.

LMDB takes its pages as they are, and ends the process over some that are damaged. So a writer opens no index
that differs from its seal, and breaks the seal before it changes anything; where there is none, because the
last writer died, the pages are looked at one by one, which takes 7 to 20 s for a million chunks.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import xxhash

from kvstore.direct_io import sync_directory
from kvstore.lmdb_env import DamagedFile, structural_problem

_SEAL = "seal"
_DIGITS = 32
_PIECE_BYTES = 1 << 20


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
        return content if len(content) == _DIGITS else None
    return None


def _checksum(index: Path) -> bytes:
    digest = xxhash.xxh3_128()
    with (index / "data.mdb").open("rb", buffering=0) as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest().encode()
