"""A directory on a disk for a benchmark: made and removed, its bytes counted."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kvstore import DiskTier
from kvstore.writer_lock import BlockingWriter

_MEMORY = {"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"}


@contextmanager
def scratch_directory(parent: Path) -> Iterator[Path]:
    """A new directory in `parent`, gone afterwards. Exits, saying why, where that is memory."""
    kind = file_system(parent)
    if kind in _MEMORY:
        raise SystemExit(f"{parent} is on {kind}, which is memory: name a directory on a disk with --path")
    with tempfile.TemporaryDirectory(prefix="kvstore-bench-", dir=parent) as name:
        yield Path(name).resolve()  # servers are told of it, which look from elsewhere


def file_system(path: Path) -> str:
    """What kind of file system a directory is on, as the kernel calls it; "unknown" where it does not say."""
    mounts, kind, longest = Path("/proc/mounts"), "unknown", -1
    for line in mounts.read_text().splitlines() if mounts.exists() else []:
        _, mounted_at, its_kind = line.split()[:3]
        if path.resolve().is_relative_to(mounted_at) and len(mounted_at) >= longest:
            kind, longest = its_kind, len(mounted_at)
    return kind


def disk_bytes(directory: Path) -> int:
    """What its files take on the disk, holes not counted."""
    return sum(512 * path.stat().st_blocks for path in directory.rglob("*") if path.is_file())


def wait_for_saves(directory: Path, timeout_s: float = 120.0) -> None:
    """Until the last engine's store process, which goes on saving, has closed its store. Raises TimeoutError."""
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s:
        try:
            return DiskTier(directory, 1 << 40).close()
        except BlockingWriter:
            time.sleep(0.2)
    raise TimeoutError(f"{directory} is still being written")
