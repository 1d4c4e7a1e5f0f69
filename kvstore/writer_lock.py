"""The writer's lock of a directory: one process writes, any number read."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from kvstore.direct_io import sync_directory
from kvstore.errors import TierUnavailable


class BlockingWriter(TierUnavailable):
    """Somebody else writes this directory."""


def lock_directory(path: Path, *rooms: str) -> int:
    """Makes the directory with these inside, and takes its lock: a descriptor, released by closing it or by dying."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        for room in rooms:
            (path / room).mkdir(exist_ok=True)
        sync_directory(path)
        sync_directory(path.parent)
        descriptor = os.open(path / "writer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise TierUnavailable(f"{path} cannot be written: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise BlockingWriter(f"{path} is being written, by another process or by this one already") from error
    return descriptor
