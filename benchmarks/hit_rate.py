"""How many of the blocks that requests ask for are held, under which eviction policy?

Replays a trace of requests: a block is a hit only if all before it in its request are. `LRU` and `S3FIFO` are the
memory tier as it runs, one frame for each block; libcachesim's policies are asked for a request's blocks, the last
one first, and know nothing of prefixes; Belady knows the future, and lets pass what is not worth keeping. `all` is
what a cache without bounds would hit.

A block of the Mooncake traces is 512 tokens, and 1,000 of them are 64 GB of the KV of an 8B model in bfloat16.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.progress import Progress

from benchmarks.peer_caches import PEERS, belady, leading_hits, peer
from benchmarks.report import Check, at_least, parser, publish
from benchmarks.request_trace import Requests, made_up_chats, read_requests
from kvstore import LRU, S3FIFO, ChunkKey, EvictionPolicy, MemoryTier

OWN: Mapping[str, Callable[[], EvictionPolicy]] = {"LRU": LRU, "S3FIFO": S3FIFO}
FRAME = bytes(1 << 20)
_SIZES = {"conversation": (1000, 5000, 20000), "synthetic": (500, 2500, 10000)}  # blocks, by a word of the name
_SHARES = (0.006, 0.03, 0.12)  # of the distinct blocks, for other traces
_TIMES_LRU = 1.25  # at the smallest size


def main() -> None:
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--trace", type=Path, action="append", default=[], help="requests as JSON lines; repeatable")
    arguments = options.parse_args()
    rows, checks = [], []
    for name, requests in _traces(arguments).items():
        sizes = _sizes(name, requests)
        with Progress() as progress:
            of_trace = [_row(name, requests, size) for size in progress.track(sizes, description=name)]
        rows += of_trace
        checks += _checks(name, of_trace)
    publish("hit_rate", rows, checks, arguments.json)


def _traces(arguments: argparse.Namespace) -> dict[str, Requests]:
    traces = {file.stem: read_requests(file) for file in arguments.trace} or {"made-up chats": made_up_chats(4000)}
    return {name: requests[:1500] for name, requests in traces.items()} if arguments.quick else traces


def _sizes(name: str, requests: Requests) -> Sequence[int]:
    num_distinct = len({block for blocks in requests for block in blocks})
    named = next((sizes for word, sizes in _SIZES.items() if word in name), ())
    return named or [max(1, int(share * num_distinct)) for share in _SHARES]


def _row(name: str, requests: Requests, num_blocks: int) -> dict[str, Any]:
    """Hit rate by policy, and what a block costs in the memory tier under each of ours, in microseconds."""
    asked = sum(map(len, requests))
    own = {policy: replayed(requests, num_blocks, make()) for policy, make in OWN.items()}
    theirs = {policy: _of_peer(requests, policy, num_blocks) for policy in PEERS}
    return {
        "corpus": name,
        "blocks": num_blocks,
        **{policy: hits / asked for policy, (hits, _) in own.items()},
        **{policy: hits / asked for policy, hits in theirs.items()},
        "Belady": sum(belady(requests, num_blocks)) / asked,
        "all": sum(belady(requests, asked)) / asked,
        **{f"{policy}_us": 1e6 * seconds / asked for policy, (_, seconds) in own.items()},
    }


def replayed(requests: Requests, num_blocks: int, policy: EvictionPolicy) -> tuple[int, float]:
    """Hits in a memory tier of that many blocks, and the seconds it took to find, use and put them all."""
    tier, hits, seconds = MemoryTier(num_blocks * len(FRAME), policy), 0, 0.0
    for blocks in requests:
        keys = [_key(block) for block in blocks]
        begin = time.perf_counter()
        held = tier.match(keys)
        tier.touch(keys[:held])
        tier.put([(key, FRAME) for key in keys[held:]], keys[:held])
        seconds += time.perf_counter() - begin
        hits += held
    return hits, seconds


def _key(block: int) -> ChunkKey:
    return ChunkKey(hashlib.sha256(str(block).encode()).digest())


def _of_peer(requests: Requests, policy: str, num_blocks: int) -> int:
    cache = peer(policy, num_blocks)
    return sum(leading_hits(cache, blocks) for blocks in requests)


def _checks(name: str, rows: Sequence[Mapping[str, Any]]) -> list[Check]:
    times = [row["S3FIFO"] / row["LRU"] for row in rows]
    return [
        *(
            at_least(f"{name}, {row['blocks']} blocks: times LRU", value, 1.0)
            for row, value in zip(rows, times, strict=True)
        ),
        at_least(f"{name}, the fewest blocks: times LRU", times[0], _TIMES_LRU),
    ]


if __name__ == "__main__":
    main()
