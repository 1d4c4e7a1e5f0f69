"""The policies others use, one call per block: libcachesim's, and Belady's, which knows the future."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

import libcachesim as peers

PEERS = {
    "libcachesim LRU": peers.LRU,
    "libcachesim S3FIFO": peers.S3FIFO,
    "libcachesim ARC": peers.ARC,
    "libcachesim LIRS": peers.LIRS,
    "libcachesim Sieve": peers.Sieve,
    "libcachesim TwoQ": peers.TwoQ,
    "libcachesim WTinyLFU": peers.WTinyLFU,
}
_HASH_POWER = 18  # libcachesim's tables begin at 2 to the power of this


def peer(name: str, num_blocks: int, **parameters: float) -> peers.CacheBase:
    """An empty cache of that many blocks; `parameters` are the policy's own."""
    cache: peers.CacheBase = PEERS[name](num_blocks, hashpower=_HASH_POWER, **parameters)
    return cache


def leading_hits(cache: peers.CacheBase, blocks: Sequence[int]) -> int:
    """Asks for a request's blocks, the last one first; how many leading ones were hits."""
    hits = [cache.get(peers.Request(obj_size=1, obj_id=block)) for block in reversed(blocks)][::-1]
    return hits.index(False) if False in hits else len(hits)


def belady(requests: Sequence[Sequence[int]], num_blocks: int) -> list[int]:
    """Leading hits of each request when what is needed latest goes first, be it what has just come (bypass)."""
    comes = _next_requests(requests)
    held: dict[int, float] = {}
    latest: list[tuple[float, int]] = []
    result = []
    for blocks, nexts in zip(requests, comes, strict=True):
        result.append(next((place for place, block in enumerate(blocks) if block not in held), len(blocks)))
        for block, when in zip(blocks, nexts, strict=True):
            held[block] = when
            heapq.heappush(latest, (-when, block))
        while len(held) > num_blocks:
            when, block = heapq.heappop(latest)
            if held.get(block) == -when:
                del held[block]
    return result


def _next_requests(requests: Sequence[Sequence[int]]) -> list[list[float]]:
    """For each block of each request, the index of the next request that has it; infinity for none."""
    comes: dict[int, float] = {}
    result = []
    for index in range(len(requests) - 1, -1, -1):
        result.append([comes.get(block, math.inf) for block in requests[index]])
        comes.update(dict.fromkeys(requests[index], index))
    return result[::-1]
