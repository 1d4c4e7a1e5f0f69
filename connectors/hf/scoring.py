"""What a model predicts on top of some KV, and how far that is from what it predicts on top of the exact one."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from codec import Codec, Frame, KVArray, KVSpec, bytes_needed, decode_chunk, encode_chunk, read_header

_TOKENS_AT_ONCE = 32  # a vocabulary's worth of float64 for each adds up


@dataclass(frozen=True)
class Distortion:
    """Over some next-token distributions: mean KL(exact || other) in nats, share of equal argmaxes, and the
    mean negative log-likelihood of the tokens that did follow, under either."""

    kl: float
    top1: float
    exact_nll: float
    other_nll: float


def distortion(exact: torch.Tensor, other: torch.Tensor, followed_by: torch.Tensor) -> Distortion:
    """`exact` and `other` are logits `[token, vocabulary]`, `followed_by` the token ids `[token]`."""
    sums = torch.zeros(4, dtype=torch.float64)
    for start in range(0, len(followed_by), _TOKENS_AT_ONCE):
        part = slice(start, start + _TOKENS_AT_ONCE)
        log_p, log_q = (logits[part].double().log_softmax(dim=-1) for logits in (exact, other))
        token_ids = followed_by[part, None]
        sums += torch.stack(
            [
                (log_p.exp() * (log_p - log_q)).sum(),
                (log_p.argmax(-1) == log_q.argmax(-1)).sum(),
                -log_p.gather(1, token_ids).sum(),
                -log_q.gather(1, token_ids).sum(),
            ]
        )
    return Distortion(*(sums / len(followed_by)).tolist())


def log_probabilities(model: Any, token_ids: torch.Tensor, cache: DynamicCache | None = None) -> torch.Tensor:
    """Log-probabilities `[token, vocabulary]` (float64) after each of `token_ids` `[1, token]` behind `cache`."""
    probabilities: torch.Tensor = logits_behind(model, token_ids, cache).double().log_softmax(dim=-1)
    return probabilities


@torch.no_grad()
def logits_behind(
    model: Any, token_ids: torch.Tensor, cache: DynamicCache | None = None, last: int = 0
) -> torch.Tensor:
    """Logits `[token, vocabulary]` after each of `token_ids` `[1, token]`, which follow what is in `cache`; after the
    `last` of them only, unless that is 0."""
    held = copy.deepcopy(cache)  # a cache grows in use
    output = model(input_ids=token_ids, past_key_values=held, use_cache=held is not None, logits_to_keep=last)
    logits: torch.Tensor = output.logits[0]
    return logits


def kv_of(spec: KVSpec, cache: DynamicCache) -> KVArray:
    """The only row of a cache of full attention, in the spec's dtype."""
    dtype = getattr(torch, spec.dtype)
    keys = tuple(layer.keys[0].to(dtype) for layer in cache.layers)
    return KVArray(spec, keys, tuple(layer.values[0].to(dtype) for layer in cache.layers))


def through_frames(codec: Codec, kv: KVArray, chunk_tokens: int, quality: str | None = None) -> tuple[int, KVArray]:
    """Bytes of the frames, one per chunk, and what they decode to: as far as `quality` needs them, if one is given."""
    num_bytes, decoded = 0, KVArray.empty(kv.spec, kv.num_tokens)
    for start in range(0, kv.num_tokens, chunk_tokens):
        end = min(start + chunk_tokens, kv.num_tokens)
        content = encode_chunk(codec, kv.tokens(start, end), "0" * 64, start)
        needed = bytes_needed(read_header(content), quality)
        decode_chunk(Frame.begun(content[:needed]), decoded.tokens(start, end), quality=quality)
        num_bytes += needed
    return num_bytes, decoded


def cache_of(model: Any, kv: KVArray) -> DynamicCache:
    """The KV as the model takes it, in the model's own dtype."""
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    for layer, (keys, values) in enumerate(zip(kv.keys, kv.values, strict=True)):
        cache.update(keys[None].to(model.dtype), values[None].to(model.dtype), layer)
    return cache
