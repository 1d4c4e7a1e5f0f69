"""Frames one behind the other in one HTTP body. The only file that packs it.

record*     key 32 bytes | length u64, little-endian | XXH3-128 of the frame, 16 bytes | the frame
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass

import xxhash

from codec import CorruptFrame
from kvstore import ChunkKey
from kvstore.tier import Frame

MEDIA_TYPE = "application/vnd.kvstore.frames"
_HEAD = struct.Struct("<32sQ16s")


def head_of(key: ChunkKey, frame: Frame) -> bytes:
    """What stands before a frame."""
    return _HEAD.pack(key.digest, len(frame), xxhash.xxh3_128_digest(frame))


def stream_bytes(sizes: list[int]) -> int:
    """How long a stream of frames of these sizes is."""
    return sum(_HEAD.size + size for size in sizes)


@dataclass
class _Reading:
    key: ChunkKey
    digest: bytes
    frame: bytearray
    filled: int = 0


async def read_frames(body: AsyncIterator[bytes], most_bytes: int) -> AsyncIterator[tuple[ChunkKey, bytearray]]:
    """The frames of a body that comes in pieces, each checked, in buffers of their own.

    Raises CorruptFrame where one is not what its checksum says, longer than `most_bytes`, or cut short.
    """
    head, reading = bytearray(), None
    async for piece in body:
        rest = memoryview(piece)
        while len(rest):
            if reading is None:
                missing = _HEAD.size - len(head)
                head += rest[:missing]
                rest = rest[missing:]
                if len(head) < _HEAD.size:
                    break
                reading, head = _begun(head, most_bytes), bytearray()
            taken = min(len(rest), len(reading.frame) - reading.filled)
            reading.frame[reading.filled : reading.filled + taken] = rest[:taken]
            reading.filled, rest = reading.filled + taken, rest[taken:]
            if reading.filled == len(reading.frame):
                if xxhash.xxh3_128_digest(reading.frame) != reading.digest:
                    raise CorruptFrame(f"the frame of chunk {reading.key} is not what its checksum says")
                yield reading.key, reading.frame
                reading = None
    if reading is not None or head:
        raise CorruptFrame("the stream of frames ends in the middle of one")


def _begun(head: bytearray, most_bytes: int) -> _Reading:
    key, size_bytes, digest = _HEAD.unpack(head)
    if not 0 < size_bytes <= most_bytes:
        raise CorruptFrame(f"a frame of {size_bytes} bytes; from 1 to {most_bytes} are taken")
    return _Reading(ChunkKey(key), digest, bytearray(size_bytes))
