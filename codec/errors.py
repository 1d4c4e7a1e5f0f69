"""What can go wrong with stored KV, sorted by what the caller can do about it.

A miss is not an error (`None`), and neither is declining (`False`).
"""


class KVCacheError(Exception):
    """Root of every error this project raises on purpose."""


class CorruptFrame(KVCacheError):
    """The bytes are not a frame we wrote, or no longer are: drop the chunk, count it, recompute."""


class SpecMismatch(KVCacheError):
    """The KV belongs to another model, dtype, revision or shard: refuse, and never retry."""


class UnknownCodec(KVCacheError):
    """No codec of this name is installed: install the package that brings it."""


class MissingProfile(KVCacheError):
    """A lossy codec needs the calibrated profile that coded this frame: calibrate, or copy it here."""
