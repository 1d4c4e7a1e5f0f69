"""PrefixMatch: what of a prompt was held when it was asked."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from kvstore.key import ChunkKey, Identity


@dataclass(frozen=True)
class PrefixMatch:
    """The leading chunks of a prompt that were held when it was asked. Nothing is reserved by it."""

    identity: Identity
    keys: tuple[ChunkKey, ...]
    tiers: tuple[str, ...]
    """The name of the tier that held each."""
    before: tuple[ChunkKey, ...] = ()
    """The prompt's chunks before those, which the caller has from elsewhere."""
    until_s: float = math.inf
    """When it has to be loaded (`time.monotonic`), where its frames can be read at less than their full quality."""

    @property
    def start(self) -> int:
        """The position at which its first token stood when its KV was computed."""
        return len(self.identity.behind) + len(self.before) * self.identity.chunk_tokens

    @property
    def num_tokens(self) -> int:
        return len(self.keys) * self.identity.chunk_tokens

    def first(self, num_chunks: int) -> PrefixMatch:
        """The same match, cut to its first `num_chunks` chunks."""
        return replace(self, keys=self.keys[:num_chunks], tiers=self.tiers[:num_chunks])

    def behind(self, num_tokens: int) -> PrefixMatch:
        """What of it is left to load for who has the prompt's first `num_tokens` tokens already, in whole chunks."""
        had = max(num_tokens - self.start, 0) // self.identity.chunk_tokens
        return replace(self, keys=self.keys[had:], tiers=self.tiers[had:], before=self.before + self.keys[:had])
