"""Ways to keep values on a disk: the disk tier, LMDB, one file for each as peers do, and the disk itself."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kvstore import ChunkKey, DiskTier, LmdbTier, Tier
from kvstore.buffers import Bytes, contiguous_buffer
from kvstore.direct_io import read_into, sync_directory, write_all


class Way(ABC):
    """Values by key in one directory. `is_durable` says whether a put outlasts a loss of power."""

    is_durable = True

    def __init__(self, directory: Path, capacity_bytes: int) -> None:
        self.directory, self.capacity_bytes = directory, capacity_bytes

    @abstractmethod
    def open(self) -> None:
        """Once more after every close; what was put is there."""

    @abstractmethod
    def put(self, keys: Sequence[ChunkKey], values: Sequence[Bytes]) -> None:
        """Keeps values, each [num_bytes] and page-aligned in memory."""

    @abstractmethod
    def get(self, key: ChunkKey) -> memoryview | bytes:
        """The value, in memory."""

    @abstractmethod
    def close(self) -> None:
        """Leaves nothing open or mapped."""


class OfTier(Way):
    """Through a tier; keys that are put together are one prompt."""

    make: Callable[[Path, int], Tier]

    def open(self) -> None:
        self._tier = type(self).make(self.directory, self.capacity_bytes)

    def put(self, keys: Sequence[ChunkKey], values: Sequence[Bytes]) -> None:
        frames = [(key, value.data) for key, value in zip(keys, values, strict=True)]
        if self._tier.put(frames) < len(frames):
            raise RuntimeError(f"{self._tier.name} declined what its budget has room for")

    def get(self, key: ChunkKey) -> memoryview:
        frame = self._tier.get(key)
        if frame is None:
            raise RuntimeError(f"{self._tier.name} does not hold chunk {key}, which was put")
        return frame

    def close(self) -> None:
        self._tier.close()


class OfDiskTier(OfTier):
    make = DiskTier


class OfLmdbTier(OfTier):
    make = LmdbTier


class PlainFiles(Way):
    """A file for each value, written where it is read."""

    is_durable = False

    def open(self) -> None:
        self.directory.mkdir(exist_ok=True)

    def put(self, keys: Sequence[ChunkKey], values: Sequence[Bytes]) -> None:
        for key, value in zip(keys, values, strict=True):
            (self.directory / str(key)).write_bytes(value.data)

    def get(self, key: ChunkKey) -> bytes:
        return (self.directory / str(key)).read_bytes()

    def close(self) -> None:
        return


class DurableFiles(PlainFiles):
    """A file for each value: written beside its name, synced, renamed; the names synced once for each put."""

    is_durable = True

    def put(self, keys: Sequence[ChunkKey], values: Sequence[Bytes]) -> None:
        for key, value in zip(keys, values, strict=True):
            path = self.directory / str(key)
            with path.with_suffix(".tmp").open("wb", buffering=0) as file:
                file.write(value.data)
                os.fsync(file.fileno())
            path.with_suffix(".tmp").rename(path)
        sync_directory(self.directory)


class RawDisk(Way):
    """The same bytes one behind the other in one file, past the page cache, read into one buffer again and again.

    Raises OSError where the file system refuses O_DIRECT, and where a value is not whole pages.
    """

    is_durable = False

    def __init__(self, directory: Path, capacity_bytes: int) -> None:
        super().__init__(directory, capacity_bytes)
        self._places: dict[ChunkKey, int] = {}
        self._end, self._buffer = 0, contiguous_buffer(0)

    def open(self) -> None:
        self.directory.mkdir(exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_DIRECT | os.O_CLOEXEC
        self._descriptor = os.open(self.directory / "raw", flags, 0o600)

    def put(self, keys: Sequence[ChunkKey], values: Sequence[Bytes]) -> None:
        for key, value in zip(keys, values, strict=True):
            write_all(self._descriptor, value, self._end)
            self._places[key] = self._end
            self._end += len(value)
        if len(self._buffer) != len(values[0]):
            self._buffer = contiguous_buffer(len(values[0]))

    def get(self, key: ChunkKey) -> memoryview:
        read_into(self._descriptor, self._buffer, self._places[key])
        return self._buffer.data

    def close(self) -> None:
        os.close(self._descriptor)


class DurableRawDisk(RawDisk):
    """The same, synced after each put."""

    is_durable = True

    def put(self, keys: Sequence[ChunkKey], values: Sequence[Bytes]) -> None:
        super().put(keys, values)
        os.fdatasync(self._descriptor)


STORES: Mapping[str, type[Way]] = {
    "disk tier": OfDiskTier,
    "LMDB tier": OfLmdbTier,
    "files": PlainFiles,
    "files, durable": DurableFiles,
}
"""In which a value can be put again."""
WAYS: Mapping[str, type[Way]] = {**STORES, "raw": RawDisk, "raw, durable": DurableRawDisk}
