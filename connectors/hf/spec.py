"""spec_of: a transformers model's KVSpec, or a clear reason why its KV cannot be kept."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import xxhash
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from codec import KVSpec, LayerGroup
from kvstore import KVCacheError

_FIXED_ROPE = {"default", "linear", "llama3", "yarn"}
_LENGTH_DEPENDENT_ROPE = {"dynamic", "longrope"}
_LAYER_TYPES = {"full_attention", "sliding_attention"}
_NOT_IDENTITY = {"transformers_version", "use_cache", "dtype", "torch_dtype", "architectures"}


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
        model=_name(model),
        revision=revision or _digest(model, config),
        dtype=str(layers[0].keys.dtype).removeprefix("torch."),
        groups=tuple(
            LayerGroup(tuple(numbers), heads, key_dim, value_dim, window, _rotary(config, numbers[0], window))
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
        for rope in _rope_parameters(config).values()
        if rope.get("rope_type") in _LENGTH_DEPENDENT_ROPE
    ]
    return min(limits, default=None)


def _name(model: PreTrainedModel) -> str:
    """The hub id, or the name of the directory the model came from."""
    source = str(model.name_or_path or type(model).__name__)
    return Path(source).resolve().name if Path(source).is_dir() else source


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
    for rope in _rope_parameters(config).values():
        if (kind := rope.get("rope_type", "default")) not in _FIXED_ROPE | _LENGTH_DEPENDENT_ROPE:
            raise UnsupportedModel(f"{name} uses rotary scaling {kind!r}, not known to leave a prefix's keys alone")


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


def _rope_parameters(config: Any) -> dict[str, dict[str, Any]]:
    """Rotary parameters by layer type; one entry named "" where all layers share them."""
    rope = getattr(config, "rope_parameters", None) or {}
    if all(isinstance(value, dict) for value in rope.values()):
        return {kind: value for kind, value in rope.items() if value}
    return {"": rope}


def _rotary(config: Any, layer: int, window: int | None) -> dict[str, Any]:
    by_type = _rope_parameters(config)
    layer_types = getattr(config, "layer_types", None)
    kind = layer_types[layer] if layer_types else "sliding_attention" if window else "full_attention"
    rope = by_type.get("", by_type.get(kind, {}))
    parameters = dict(_plain(rope))
    if (partial := getattr(config, "partial_rotary_factor", None)) is not None:
        parameters.setdefault("partial_rotary_factor", partial)
    return parameters


def _digest(model: PreTrainedModel, config: Any) -> str:
    """Hex digest of every weight (name, dtype, shape, bytes) and of the configuration."""
    settings = {
        key: value for key, value in _plain(config.to_dict()).items() if key not in _NOT_IDENTITY and key[0] != "_"
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {xxhash.xxh3_128_hexdigest(raw.data)}\n".encode())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """`value` with everything JSON does not know turned into text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
