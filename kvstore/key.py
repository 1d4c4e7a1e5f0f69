"""ChunkKey: the content address of a chunk and of everything before it. The only file that hashes tokens.

    root   = SHA-256(canonical JSON of the Identity)
    key[0] = SHA-256(domain, root,   tokens [0, n),  multimodal parts in them)
    key[i] = SHA-256(domain, key[i-1], tokens [i*n, (i+1)*n), multimodal parts in them)

Equal keys therefore mean: same spec, tenant, LoRA, codec and chunk size, and the same tokens from the
first one on. The hash is fixed and unseeded: the same in every process, engine and machine.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from codec import KVSpec
from kvstore.errors import InvalidRequest

_DOMAIN = b"kvstore/chunk/1"  # the number changes with the frame format, so that releases never mix
KEY_BYTES = 32


@dataclass(frozen=True, order=True)
class ChunkKey:
    """32 bytes naming one chunk; `str()` gives 64 hex digits."""

    digest: bytes

    def __str__(self) -> str:
        return self.digest.hex()

    @classmethod
    def from_hex(cls, text: str) -> ChunkKey:
        """Raises InvalidRequest unless `text` is 64 hex digits."""
        try:
            digest = bytes.fromhex(text)
        except ValueError as error:
            raise InvalidRequest(f"{text!r} is not a chunk key: {error}") from error
        if len(digest) != KEY_BYTES:
            raise InvalidRequest(f"{text!r} is not a chunk key: {2 * KEY_BYTES} hex digits are needed")
        return cls(digest)


@dataclass(frozen=True)
class LoRA:
    """The adapter active while the KV was computed. Name and path, because a name alone is reused."""

    name: str
    path: str


@dataclass(frozen=True)
class Multimodal:
    """Placeholder tokens [start, end) stand for an input whose content has this hash."""

    content_hash: str
    start: int
    end: int


@dataclass(frozen=True)
class Identity:
    """Everything but the tokens that decides which KV is right, and who may have it."""

    spec: KVSpec
    codec: str
    """`Codec.identity()`: who asked for lossless KV must never be given a lossy one."""
    chunk_tokens: int
    tenant: str = ""
    lora: LoRA | None = None
    behind: tuple[int, ...] = ()
    """Tokens that stood before the first one when the KV was computed, where that is not the beginning of a prompt."""

    @cached_property
    def root(self) -> bytes:
        """32 bytes: the parent of every first chunk."""
        parts = {
            "spec": self.spec.fingerprint(),
            "codec": self.codec,
            "chunk_tokens": self.chunk_tokens,
            "tenant": self.tenant,
            "lora": asdict(self.lora) if self.lora else None,
            **({"behind": self.behind} if self.behind else {}),
        }
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(_DOMAIN + text.encode()).digest()


def chunk_keys(identity: Identity, token_ids: Sequence[int], multimodal: Sequence[Multimodal] = ()) -> list[ChunkKey]:
    """Keys of the full chunks of a prompt, first to last; a last, partial chunk has none.

    Raises InvalidRequest when a token id is not in [0, 2**32).
    """
    tokens = _as_uint32(token_ids)
    size = identity.chunk_tokens
    keys, parent = [], identity.root
    for start in range(0, len(tokens) - size + 1, size):
        digest = hashlib.sha256(_DOMAIN)
        digest.update(parent)
        digest.update(tokens[start : start + size].tobytes())
        for part in multimodal:
            if part.start < start + size and part.end > start:
                name = part.content_hash.encode()
                digest.update(struct.pack("<qqq", part.start - start, part.end - start, len(name)) + name)
        parent = digest.digest()
        keys.append(ChunkKey(parent))
    return keys


def _as_uint32(token_ids: Sequence[int]) -> np.ndarray:
    try:
        tokens = np.asarray(token_ids)
    except ValueError as error:
        raise InvalidRequest(f"token ids are no flat sequence: {error}") from error
    wrong_kind = tokens.size and tokens.dtype.kind not in "iu"
    if tokens.ndim != 1 or wrong_kind or (tokens.size and (tokens.min() < 0 or tokens.max() >> 32)):
        raise InvalidRequest("token ids must be a flat sequence of integers in [0, 2**32)")
    return tokens.astype("<u4")
