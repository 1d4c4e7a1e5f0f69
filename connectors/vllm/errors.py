"""What the vLLM connector raises where it cannot serve."""

from kvstore import KVCacheError


class UnsupportedEngine(KVCacheError):
    """This engine's KV cannot be kept and given back exactly; it goes on without the store."""
