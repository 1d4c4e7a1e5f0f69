"""spec_of: a transformers model's KVSpec, or a clear reason why its KV cannot be kept."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from codec import KVSpec, LayerGroup
from connectors.model_identity import (
    FIXED_ROPE,
    LENGTH_DEPENDENT_ROPE,
    model_name,
    rope_parameters,
    rope_types,
    rotary,
    weights_digest,
)
from kvstore import KVCacheError

_LAYER_TYPES = {"full_attention", "sliding_attention"}


class UnsupportedModel(KVCacheError):
    """This model's KV cannot be kept and given back exactly; generation goes on without the store."""


def spec_of(model: PreTrainedModel, revision: str | None = None) -> KVSpec:
    """What must be equal for another model's KV to stand in for this one's.

    Shapes and dtype are read off the cache of a one-token forward pass, so they are what the model really
    does. The revision is a digest of the weights and the configuration in memory: a fine-tuned, merged or
    re-scaled model is another model. Passing `revision` (a commit, say) skips the digest and trusts it.
    Raises UnsupportedModel with the reason.
    """
    config = model.config.get_text_config(decoder=True)
    _require_support(model, config)
    layers = _probe(model, config)
    groups = defaultdict(list)
    for number, layer in enumerate(layers):
        _, heads, _, key_dim = layer.keys.shape
        window = layer.sliding_window if layer.is_sliding else None
        groups[heads, key_dim, layer.values.shape[3], window].append(number)
    return KVSpec(
        model=model_name(model.name_or_path or type(model).__name__),
        revision=revision or weights_digest(config, sorted(model.state_dict().items())),
        dtype=str(layers[0].keys.dtype).removeprefix("torch."),
        groups=tuple(
            LayerGroup(tuple(numbers), heads, key_dim, value_dim, window, rotary(config, numbers[0], window))
            for (heads, key_dim, value_dim, window), numbers in groups.items()
        ),
    )


def max_exact_tokens(model: PreTrainedModel) -> int | None:
    """Longest sequence whose keys do not depend on how long it becomes; None when there is no such limit.

    Under dynamic NTK and LongRoPE scaling the rotary frequencies change once a sequence outgrows the
    original context: the same tokens then have other keys than in a shorter prompt.
    """
    config = model.config.get_text_config(decoder=True)
    limits = [
        int(rope.get("original_max_position_embeddings") or config.max_position_embeddings)
        for rope in rope_parameters(config).values()
        if rope.get("rope_type") in LENGTH_DEPENDENT_ROPE
    ]
    return min(limits, default=None)


def _require_support(model: PreTrainedModel, config: Any) -> None:
    name = type(model).__name__
    if model.config.is_encoder_decoder:
        raise UnsupportedModel(f"{name} is an encoder-decoder model; the store keeps decoder-only prompts")
    if getattr(config, "num_kv_shared_layers", 0):
        raise UnsupportedModel(f"{name} shares KV between layers, which its cache does not show")
    if getattr(config, "use_bidirectional_attention", False):
        raise UnsupportedModel(f"{name} attends in both directions: a prefix's KV depends on what follows")
    if unknown := set(getattr(config, "layer_types", None) or ()) - _LAYER_TYPES:
        raise UnsupportedModel(f"{name} has layers of kind {', '.join(sorted(unknown))}: no KV per token to keep")
    kinds = {type(layer) for layer in DynamicCache(config=config).layers}
    if not kinds or not kinds <= {DynamicLayer, DynamicSlidingWindowLayer}:
        raise UnsupportedModel(f"{name} uses cache layers {sorted(kind.__name__ for kind in kinds)}")
    if unknown := rope_types(config) - FIXED_ROPE - LENGTH_DEPENDENT_ROPE:
        kinds_of_rope = ", ".join(sorted(unknown))
        raise UnsupportedModel(f"{name} uses rotary scaling {kinds_of_rope}, not known to leave a prefix's keys alone")


@torch.no_grad()
def _probe(model: PreTrainedModel, config: Any) -> list[Any]:
    """The cache's layers after one token."""
    cache = DynamicCache(config=config)
    model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=model.device), past_key_values=cache, use_cache=True)
    if any(not layer.is_initialized or layer.keys.shape[:3:2] != (1, 1) for layer in cache.layers):
        raise UnsupportedModel(f"{type(model).__name__} does not keep one key per layer, head and token in its cache")
    if len({layer.keys.dtype for layer in cache.layers} | {layer.values.dtype for layer in cache.layers}) > 1:
        raise UnsupportedModel(f"{type(model).__name__} mixes dtypes in its cache")
    return list(cache.layers)
