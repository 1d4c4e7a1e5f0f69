"""A context's frames over a link of 1 Gbit/s: coded ones beside the raw KV, and beside computing the context.

Raw is the KV as the model has it, in values of a chunk each. `fetch_s` is getting all values, checked, and nothing
else; `first_token_s` is a whole request's, whose context is loaded through the link and decoded. Raw KV is not decoded:
its request is the fetch and the floor, which is a request whose KV is in place already. Every round, each has a turn.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.bandwidth import GBIT
from benchmarks.disk_speed import key_of
from benchmarks.remote_servers import RedisServer
from benchmarks.shaped_link import Condition, Link
from codec import Codec, KVArray
from connectors.hf import CachedModel, spec_of, ttft
from connectors.hf.scoring import kv_of
from connectors.remote.opening import open_remote
from connectors.remote.remote_tier import RemoteTier
from kvstore import ChunkKey, KVStore
from kvstore.store import DEFAULT_CHUNK_TOKENS

RAW, COMPUTED = "raw", "computed"
_TAIL = 16  # tokens of the question behind the context
_PATIENCE_S = 60.0  # nothing is given up here


@dataclass(frozen=True)
class Context:
    """A model and a prompt for it, of whose tokens all but the tail are to be loaded."""

    model: Any
    prompt: torch.Tensor

    @property
    def held(self) -> torch.Tensor:
        return self.prompt[:, :-_TAIL]


def over_link(
    server: RedisServer, context: Context, codecs: Mapping[str, Codec], gbit_s: float, num_rounds: int
) -> list[dict[str, Any]]:
    """A row for raw KV and for every codec."""
    computed = ttft.computed_context(context.model, context.held)
    kv = kv_of(spec_of(context.model, "benchmark"), computed)
    with ExitStack() as opened:
        link = opened.enter_context(Link(server.tcp[1]))
        tier = opened.enter_context(_tier(server, link, RAW))
        values = {RAW: _put(tier, _raw(kv))}
        tiers, cached = {RAW: tier}, {}
        for name, codec in codecs.items():
            tiers[name] = _tier(server, link, name)
            cached[name] = opened.enter_context(_filled(context, tiers[name], codec, kv))
            values[name] = [entry.key for entry in tiers[name].entries()]
        sizes = {name: sum(entry.size_bytes for entry in tiers[name].entries()) for name in tiers}
        link.be(Condition(bytes_per_s=gbit_s * GBIT))
        rounds = [_round(context, tiers, values, cached, computed) for _ in range(num_rounds + 1)][1:]
    return [_row(name, context, sizes, rounds) for name in tiers]


def _tier(server: RedisServer, link: Link, namespace: str) -> RemoteTier:
    return open_remote(f"{server.url(link.port)}?namespace={namespace}", deadline_s=_PATIENCE_S)


@contextmanager
def _filled(context: Context, tier: RemoteTier, codec: Codec, kv: KVArray) -> Iterator[CachedModel]:
    with KVStore([tier], codec) as store:
        store.save(store.identity(kv.spec), context.held[0].tolist(), kv)
        tier.flush(_PATIENCE_S)
        with CachedModel(context.model, store, revision="benchmark") as cached:
            yield cached


def _raw(kv: KVArray) -> list[memoryview]:
    """Each chunk's keys and values, back to back."""
    starts = range(0, kv.num_tokens // DEFAULT_CHUNK_TOKENS * DEFAULT_CHUNK_TOKENS, DEFAULT_CHUNK_TOKENS)
    chunks = [kv.tokens(start, start + DEFAULT_CHUNK_TOKENS) for start in starts]
    return [
        torch.cat([each.flatten().view(torch.uint8) for each in (*chunk.keys, *chunk.values)]).numpy().data
        for chunk in chunks
    ]


def _put(tier: RemoteTier, contents: Sequence[memoryview]) -> list[ChunkKey]:
    keys = [key_of((RAW, index)) for index in range(len(contents))]
    tier.put(list(zip(keys, contents, strict=True)))
    tier.flush(_PATIENCE_S)
    return keys


@dataclass(frozen=True)
class _Round:
    fetch_s: Mapping[str, float]
    first_token_s: Mapping[str, float]


def _round(
    context: Context,
    tiers: Mapping[str, RemoteTier],
    values: Mapping[str, Sequence[ChunkKey]],
    cached: Mapping[str, CachedModel],
    computed: Any,
) -> _Round:
    fetch_s = {name: _fetch_s(tier, values[name]) for name, tier in tiers.items()}
    first_token_s = {name: ttft.first_token_s(model, context.prompt) for name, model in cached.items()}
    floor_s = ttft.first_token_s(context.model, context.prompt, past_key_values=copy.deepcopy(computed))
    first_token_s[RAW] = fetch_s[RAW] + floor_s
    first_token_s[COMPUTED] = ttft.first_token_s(context.model, context.prompt)
    return _Round(fetch_s, first_token_s)


def _fetch_s(tier: RemoteTier, keys: Sequence[ChunkKey]) -> float:
    started_s = time.perf_counter()
    if tier.match(keys) != len(keys) or any(tier.get(key) is None for key in keys):
        raise RuntimeError("not all of a context is there")
    return time.perf_counter() - started_s


def _row(name: str, context: Context, sizes: Mapping[str, int], rounds: Sequence[_Round]) -> dict[str, Any]:
    def median(number: Callable[[_Round], float]) -> float:
        return statistics.median(map(number, rounds))

    return {
        "codec": name,
        "bytes_per_token": sizes[name] / context.held.shape[1],
        "smaller_x": sizes[RAW] / sizes[name],
        "fetch_s": median(lambda each: each.fetch_s[name]),
        "fetch_x": median(lambda each: each.fetch_s[RAW] / each.fetch_s[name]),
        "first_token_s": median(lambda each: each.first_token_s[name]),
        "of_raw_x": median(lambda each: each.first_token_s[RAW] / each.first_token_s[name]),
        "computed_s": median(lambda each: each.first_token_s[COMPUTED]),
        "of_computed_x": median(lambda each: each.first_token_s[COMPUTED] / each.first_token_s[name]),
    }
