"""Frames read where they lie in another process's files, by what the sidecar said of them."""

from __future__ import annotations

import os

import numpy as np
import xxhash

from connectors.sidecar_connection import MOST_BYTES, Room
from kvstore.direct_io import read_into
from kvstore.tier import InFile


def read_in_file(place: InFile, room: Room) -> memoryview | None:
    """The frame, read-only, where `room` has it; None when it is no longer there: the checksum says that.

    Waits for the disk, and lets other threads run meanwhile.
    """
    if not 0 <= place.size_bytes <= MOST_BYTES:
        return None
    try:
        descriptor = os.open(place.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        frame = room(place.size_bytes)
        if read_into(descriptor, np.asarray(frame), place.offset) < len(frame):
            return None
    except (OSError, OverflowError):
        return None
    finally:
        os.close(descriptor)
    return frame.toreadonly() if xxhash.xxh3_128_digest(frame) == place.xxh3 else None
