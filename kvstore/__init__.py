"""Keys, tiers, eviction, the store: bytes in, bytes out. Never an HTTP call, never a decode in a tier."""

from kvstore.admission import Admission, SecondSight
from kvstore.background import Background
from kvstore.breaker import Breaker
from kvstore.check import Checked, check_tier, frame_problem
from kvstore.cost import AlwaysLoad, CostModel, Held, Plan
from kvstore.device import DeviceTier
from kvstore.disk import DiskTier, open_disk
from kvstore.disk_reader import DiskReader
from kvstore.errors import (
    CorruptFrame,
    EmbedderUnavailable,
    InvalidRequest,
    KVCacheError,
    MissingModel,
    MissingProfile,
    SpecMismatch,
    TierUnavailable,
    UnknownCodec,
)
from kvstore.eviction import LRU, EvictionPolicy, NoEviction
from kvstore.key import ChunkKey, Identity, LoRA, Multimodal, chunk_keys
from kvstore.latencies import Latencies
from kvstore.lmdb_tier import LmdbReader, LmdbTier
from kvstore.match import PrefixMatch
from kvstore.memory import MemoryTier
from kvstore.metrics import Metrics
from kvstore.pipeline import DECODERS
from kvstore.profiles import codec_in, profile_in, profile_named
from kvstore.s3fifo import S3FIFO
from kvstore.selection import ChunkTree, EntryFilter
from kvstore.store import DEFAULT_CHUNK_TOKENS, KVStore, Saved
from kvstore.tier import Entry, NoTier, Terms, Tier
from kvstore.tier_state import TierState
from kvstore.tiered import Tiers
from kvstore.writer_lock import BlockingWriter

__all__ = [
    "DECODERS",
    "DEFAULT_CHUNK_TOKENS",
    "LRU",
    "S3FIFO",
    "Admission",
    "AlwaysLoad",
    "Background",
    "BlockingWriter",
    "Breaker",
    "Checked",
    "ChunkKey",
    "ChunkTree",
    "CorruptFrame",
    "CostModel",
    "DeviceTier",
    "DiskReader",
    "DiskTier",
    "EmbedderUnavailable",
    "Entry",
    "EntryFilter",
    "EvictionPolicy",
    "Held",
    "Identity",
    "InvalidRequest",
    "KVCacheError",
    "KVStore",
    "Latencies",
    "LmdbReader",
    "LmdbTier",
    "LoRA",
    "MemoryTier",
    "Metrics",
    "MissingModel",
    "MissingProfile",
    "Multimodal",
    "NoEviction",
    "NoTier",
    "Plan",
    "PrefixMatch",
    "Saved",
    "SecondSight",
    "SpecMismatch",
    "Terms",
    "Tier",
    "TierState",
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
