"""The record: one frame in a segment file, behind a header that says all a lost index would. The only file that
packs its bytes.

    header      4,096 bytes (512 elsewhere than in a segment file), little-endian
                  0  magic            8 bytes, "KVRECORD"
                  8  version          u32, 1
                 12  length of the tenant's name in bytes, u32
                 16  key              32 bytes
                 48  parent's key     32 bytes, zeros for none
                 80  payload length   u64
                 88  payload checksum XXH3-128, big-endian as its digest is
                104  saved at         f64, Unix seconds
                112  expires at       f64, Unix seconds or infinity
                120  tenant           UTF-8, then zeros
               4088  header checksum  XXH3-64 of the 4,088 bytes before it, u64 (at 504, where there are 512)
    payload     the frame, then zeros up to a multiple of 4,096 bytes

Records lie at multiples of 4,096, so direct I/O takes them as they are. A header of which a bit was flipped
is no header; a payload of which one was is no frame.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import xxhash

from kvstore.errors import InvalidRequest
from kvstore.key import KEY_BYTES, ChunkKey
from kvstore.tier import Frame, Terms

PAGE_BYTES = 4096
MAX_TENANT_BYTES = 3072
_MAGIC, _VERSION = b"KVRECORD", 1
_FIXED = struct.Struct("<8sII32s32sQ16sdd")
_CHECKSUM = struct.Struct("<Q")
_NO_PARENT = bytes(KEY_BYTES)


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """What stands before a frame. `payload_xxh3` is the digest of the whole frame."""

    key: ChunkKey
    size_bytes: int
    payload_xxh3: bytes
    saved_at_s: float
    terms: Terms
    parent: ChunkKey | None

    def pack(self, num_bytes: int = PAGE_BYTES) -> bytes:
        """So many bytes. Raises InvalidRequest when the tenant's name is too long for them."""
        tenant, longest = self.terms.tenant.encode(errors="surrogatepass"), _longest_tenant(num_bytes)
        if len(tenant) > longest:
            raise InvalidRequest(f"a tenant's name has {len(tenant)} bytes; {longest} are allowed")
        parent = self.parent.digest if self.parent else _NO_PARENT
        fixed = _FIXED.pack(
            _MAGIC,
            _VERSION,
            len(tenant),
            self.key.digest,
            parent,
            self.size_bytes,
            self.payload_xxh3,
            self.saved_at_s,
            self.terms.expires_at_s,
        )
        checked = (fixed + tenant).ljust(num_bytes - _CHECKSUM.size, b"\0")
        return checked + _CHECKSUM.pack(xxhash.xxh3_64_intdigest(checked))


def unpack_header(page: bytes | memoryview, num_bytes: int = PAGE_BYTES) -> RecordHeader | None:
    """The header of `num_bytes` that these bytes begin with; None when they do not begin with a sound one."""
    if len(page) < num_bytes or page[: len(_MAGIC)] != _MAGIC:
        return None
    checked = page[: num_bytes - _CHECKSUM.size]
    if xxhash.xxh3_64_intdigest(checked) != _CHECKSUM.unpack_from(page, len(checked))[0]:
        return None
    _, version, tenant_bytes, key, parent, size_bytes, xxh3, saved_at_s, expires_at_s = _FIXED.unpack_from(page)
    if version != _VERSION or tenant_bytes > _longest_tenant(num_bytes):
        return None
    try:
        tenant = bytes(page[_FIXED.size : _FIXED.size + tenant_bytes]).decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return None
    of_parent = None if parent == _NO_PARENT else ChunkKey(parent)
    return RecordHeader(ChunkKey(key), size_bytes, xxh3, saved_at_s, Terms(tenant, expires_at_s), of_parent)


def _longest_tenant(num_bytes: int) -> int:
    """Bytes of a tenant's name in a header of that length."""
    return min(MAX_TENANT_BYTES, num_bytes - _FIXED.size - _CHECKSUM.size)


def checksum(payload: Frame) -> bytes:
    """Of a payload, as its header has it."""
    return xxhash.xxh3_128_digest(payload)


def record_bytes(size_bytes: int) -> int:
    """What a frame of that size takes in a segment."""
    return PAGE_BYTES + padded(size_bytes)


def padded(num_bytes: int) -> int:
    """Up to the next multiple of PAGE_BYTES."""
    return -(-num_bytes // PAGE_BYTES) * PAGE_BYTES
