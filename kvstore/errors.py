"""Errors of the store, beside those of the codec: one tree, sorted by remedy."""

from codec.errors import CorruptFrame, KVCacheError, MissingProfile, SpecMismatch, UnknownCodec

__all__ = [
    "CorruptFrame",
    "EmbedderUnavailable",
    "InvalidRequest",
    "KVCacheError",
    "MissingModel",
    "MissingProfile",
    "SpecMismatch",
    "TierUnavailable",
    "UnknownCodec",
]


class TierUnavailable(KVCacheError):
    """A tier cannot serve now (full disk, dead remote, damaged index): skip it, count it, compute."""


class InvalidRequest(KVCacheError, ValueError):
    """The caller asked for something that makes no sense: mend the call."""


class EmbedderUnavailable(KVCacheError):
    """Texts get no vectors now (nobody answers, or wrongly): go without the semantic cache, count it."""


class MissingModel(KVCacheError):
    """A model, or what runs it, is not installed: install the package that is named."""
