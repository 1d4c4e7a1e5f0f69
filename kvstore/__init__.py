"""Keys, tiers, eviction, the store: bytes in, bytes out. Never an HTTP call, never a decode in a tier."""

from kvstore.check import Checked, check_tier, frame_problem
from kvstore.disk import BlockingWriter, DiskReader, DiskTier, open_disk
from kvstore.errors import (
    CorruptFrame,
    InvalidRequest,
    KVCacheError,
    MissingProfile,
    SpecMismatch,
    TierUnavailable,
    UnknownCodec,
)
from kvstore.eviction import LRU, EvictionPolicy, NoEviction
from kvstore.key import ChunkKey, Identity, LoRA, Multimodal, chunk_keys
from kvstore.memory import MemoryTier
from kvstore.metrics import Metrics
from kvstore.profiles import codec_in, profile_in, profile_named
from kvstore.selection import ChunkTree, EntryFilter
from kvstore.store import DEFAULT_CHUNK_TOKENS, KVStore, PrefixMatch, Saved
from kvstore.tier import Entry, NoTier, Terms, Tier
from kvstore.tiered import Tiers

__all__ = [
    "DEFAULT_CHUNK_TOKENS",
    "LRU",
    "BlockingWriter",
    "Checked",
    "ChunkKey",
    "ChunkTree",
    "CorruptFrame",
    "DiskReader",
    "DiskTier",
    "Entry",
    "EntryFilter",
    "EvictionPolicy",
    "Identity",
    "InvalidRequest",
    "KVCacheError",
    "KVStore",
    "LoRA",
    "MemoryTier",
    "Metrics",
    "MissingProfile",
    "Multimodal",
    "NoEviction",
    "NoTier",
    "PrefixMatch",
    "Saved",
    "SpecMismatch",
    "Terms",
    "Tier",
    "TierUnavailable",
    "Tiers",
    "UnknownCodec",
    "check_tier",
    "chunk_keys",
    "codec_in",
    "frame_problem",
    "open_disk",
    "profile_in",
    "profile_named",
]
