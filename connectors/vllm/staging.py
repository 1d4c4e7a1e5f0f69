"""Staging: memory that the engine's workers and the store's process share, in slots of one chunk's KV each.

Anonymous memory with a descriptor: nothing of it has a name on any file system, and it is gone with the last
process that has it. A worker makes it; others open it through /proc, for which they have to be of the same user.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from codec import KVArray, KVSpec

_ALIGNMENT = 4096
_MADV_POPULATE_WRITE = 23  # Linux 5.14


@dataclass(frozen=True)
class Shared:
    """How another process of this host finds the memory."""

    path: str
    num_slots: int


class Staging:
    """`slots[i]` is room for the KV of `chunk_tokens` tokens: keys, then values, of one layer after the other."""

    def __init__(self, descriptor: int, num_slots: int, spec: KVSpec, chunk_tokens: int) -> None:
        """Takes the descriptor. Raises OSError when there is not that much memory behind it."""
        self.descriptor = descriptor
        try:
            size = num_slots * slot_bytes(spec, chunk_tokens)
            if os.fstat(descriptor).st_size < size:
                raise OSError(f"the staging memory is shorter than {num_slots} slots of {chunk_tokens} tokens")
            self.memory = torch.frombuffer(_populated(mmap.mmap(descriptor, size)), dtype=torch.uint8)
        except BaseException:
            os.close(descriptor)
            raise
        rows = self.memory.view(num_slots, -1)
        self.slots = [_kv_in(row, spec, chunk_tokens) for row in rows]

    @classmethod
    def create(cls, num_bytes: int, spec: KVSpec, chunk_tokens: int) -> Staging:
        """As many slots as go into `num_bytes`. Raises OSError when the system has not that much memory left."""
        num_slots = max(num_bytes // slot_bytes(spec, chunk_tokens), 1)
        if num_bytes > (available := _available_bytes()):  # taking it would have Linux end some process
            raise OSError(f"staging.capacity_bytes is {num_bytes}, and there are {available} bytes of memory left")
        descriptor = os.memfd_create("kvstore-staging", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, num_slots * slot_bytes(spec, chunk_tokens))
        return cls(descriptor, num_slots, spec, chunk_tokens)

    @classmethod
    def open(cls, shared: Shared, spec: KVSpec, chunk_tokens: int) -> Staging:
        """What another process has created. Raises OSError when that is gone, or is not ours to open."""
        return cls(os.open(shared.path, os.O_RDWR | os.O_CLOEXEC), shared.num_slots, spec, chunk_tokens)

    @property
    def shared(self) -> Shared:
        return Shared(f"/proc/{os.getpid()}/fd/{self.descriptor}", len(self.slots))


def _populated(memory: mmap.mmap) -> mmap.mmap:
    """With all its pages, large ones where there are: a request that had them come in would wait for thousands."""
    for advice in (mmap.MADV_HUGEPAGE, _MADV_POPULATE_WRITE):
        with suppress(OSError):  # this kernel has no such advice
            memory.madvise(advice)
    return memory


def _available_bytes() -> int:
    """Memory that can be had without swapping, as Linux sees it."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["MemAvailable"].removesuffix(" kB")) * 1024


def slot_bytes(spec: KVSpec, chunk_tokens: int) -> int:
    """Bytes of one chunk's KV, in whole pages."""
    return -(-chunk_tokens * spec.bytes_per_token // _ALIGNMENT) * _ALIGNMENT


def _kv_in(row: torch.Tensor, spec: KVSpec, chunk_tokens: int) -> KVArray:
    dtype, begin = getattr(torch, spec.dtype), 0
    parts = []
    for group in spec.group_of:
        for dim in (group.key_dim, group.value_dim):
            end = begin + group.kv_heads * chunk_tokens * dim * dtype.itemsize
            parts.append(row[begin:end].view(dtype).view(group.kv_heads, chunk_tokens, dim))
            begin = end
    return KVArray(spec, tuple(parts[::2]), tuple(parts[1::2]))
