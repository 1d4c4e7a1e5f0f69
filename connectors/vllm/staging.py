"""Staging: memory that the engine's workers and the store's process share, in slots of one chunk's KV each.

Anonymous memory with a descriptor: nothing of it has a name on any file system, and it is gone with the last
process that has it. A worker makes it; others open it through /proc, for which they have to be of the same user.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass

import torch

from codec import KVArray, KVSpec

_ALIGNMENT = 4096


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
            self.memory = torch.frombuffer(mmap.mmap(descriptor, size), dtype=torch.uint8)
        except BaseException:
            os.close(descriptor)
            raise
        rows = self.memory.view(num_slots, -1)
        self.slots = [_kv_in(row, spec, chunk_tokens) for row in rows]

    @classmethod
    def create(cls, num_bytes: int, spec: KVSpec, chunk_tokens: int) -> Staging:
        """As many slots as go into `num_bytes`. Pages are taken from the system as they are used."""
        num_slots = max(num_bytes // slot_bytes(spec, chunk_tokens), 1)
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
