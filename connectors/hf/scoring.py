"""What a model predicts on top of some KV, and how far that is from what it predicts on top of the exact one."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from codec import KVArray


@dataclass(frozen=True)
class Distortion:
    """Over some next-token distributions: mean KL(exact || other) in nats, share of equal argmaxes, and the
    mean negative log-likelihood of the tokens that did follow, under either."""

    kl: float
    top1: float
    exact_nll: float
    other_nll: float


def distortion(exact: torch.Tensor, other: torch.Tensor, followed_by: torch.Tensor) -> Distortion:
    """`exact` and `other` are log-probabilities `[token, vocabulary]`, `followed_by` the token ids `[token]`."""
    kl = torch.nn.functional.kl_div(other, exact, log_target=True, reduction="none").sum(dim=-1)
    same = (exact.argmax(-1) == other.argmax(-1)).double()
    nll = [-float(each.gather(1, followed_by[:, None]).mean()) for each in (exact, other)]
    return Distortion(float(kl.mean()), float(same.mean()), *nll)


@torch.no_grad()
def log_probabilities(model: Any, token_ids: torch.Tensor, cache: DynamicCache | None = None) -> torch.Tensor:
    """Log-probabilities `[token, vocabulary]` (float64) after each of `token_ids` `[1, token]` behind `cache`."""
    held = copy.deepcopy(cache)  # a cache grows in use
    logits = model(input_ids=token_ids, past_key_values=held, use_cache=held is not None).logits[0]
    probabilities: torch.Tensor = logits.double().log_softmax(dim=-1)
    return probabilities


def cache_of(model: Any, kv: KVArray) -> DynamicCache:
    """The KV as the model takes it, in the model's own dtype."""
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    for layer, (keys, values) in enumerate(zip(kv.keys, kv.values, strict=True)):
        cache.update(keys[None].to(model.dtype), values[None].to(model.dtype), layer)
    return cache
