"""Keys and frames that no model made, each told from every other."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from kvstore.key import ChunkKey
from kvstore.tier import Frame, Tier

FRAME_BYTES = 1000


def key(name: str) -> ChunkKey:
    """A key that no prompt has."""
    return ChunkKey(sha256(name.encode()).digest())


def prompt(name: str, num_chunks: int) -> list[ChunkKey]:
    """Keys as of one prompt's chunks, first to last."""
    return [key(f"{name}/{index}") for index in range(num_chunks)]


def frame(of: ChunkKey, num_bytes: int = FRAME_BYTES, version: int = 0) -> bytes:
    """Bytes that belong to one key, length and version, and to no other."""
    seed = sha256(of.digest + bytes([version])).digest()
    return (seed * (num_bytes // len(seed) + 1))[:num_bytes]


def frames(keys: Sequence[ChunkKey], num_bytes: int = FRAME_BYTES) -> list[tuple[ChunkKey, Frame]]:
    """What `Tier.put` takes, for these keys."""
    return [(each, frame(each, num_bytes)) for each in keys]


def held(tier: Tier, of: ChunkKey) -> bytes | None:
    """A copy of what the tier holds under that key."""
    view = tier.get(of)
    return None if view is None else bytes(view)
