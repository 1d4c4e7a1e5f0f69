"""The kernel's page cache: forgotten on purpose, so that a read is one from the disk."""

from __future__ import annotations

import os
from pathlib import Path


def drop_from_page_cache(directory: Path) -> None:
    """Asks the kernel to forget the pages of every file below `directory`; what somebody has mapped stays."""
    for path in directory.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)  # only clean pages are dropped
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
