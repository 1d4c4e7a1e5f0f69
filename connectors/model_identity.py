"""What makes two models the same one, whichever engine runs them: name, weights and settings, rotary embedding.

Everything here takes a model's text configuration (a transformers configuration object, which vLLM has too):
engines that see equal configurations and weights get equal answers, and may read each other's KV.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import xxhash

FIXED_ROPE = {"default", "linear", "llama3", "yarn"}
"""Rotary scalings under which a prefix's keys are the same in every longer prompt."""
LENGTH_DEPENDENT_ROPE = {"dynamic", "longrope"}
_NOT_IDENTITY = {"transformers_version", "use_cache", "dtype", "torch_dtype", "architectures"}
_HUB_SNAPSHOT = re.compile(r"models--(?P<owner>[^/]+?)--(?P<name>[^/]+)/snapshots/[^/]+")


def model_name(source: str | Path) -> str:
    """The hub id, or the name of the directory the model came from; a directory of the hub's cache has an id."""
    if not Path(source).is_dir():
        return str(source)
    directory = Path(source).resolve()
    snapshot = _HUB_SNAPSHOT.fullmatch("/".join(directory.parts[-3:]))
    return f"{snapshot['owner']}/{snapshot['name']}" if snapshot else directory.name


def weights_digest(config: Any, state: Iterable[tuple[str, torch.Tensor]]) -> str:
    """Hex digest of the configuration and of every weight: name, dtype, shape, bytes.

    `state` is what transformers' `state_dict()` has, in the order of the names: tied weights under each of them.
    """
    digest = hashlib.sha256(settings_json(config))
    for name, tensor in state:
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {xxhash.xxh3_128_hexdigest(raw.data)}\n".encode())
    return digest.hexdigest()


def settings_json(config: Any) -> bytes:
    """The configuration as canonical JSON, without what says nothing about the KV."""
    settings = {
        key: value for key, value in _plain(config.to_dict()).items() if key not in _NOT_IDENTITY and key[0] != "_"
    }
    return json.dumps(settings, sort_keys=True).encode()


def rope_parameters(config: Any) -> dict[str, dict[str, Any]]:
    """Rotary parameters by layer type; one entry named "" where all layers share them."""
    rope = getattr(config, "rope_parameters", None) or {}
    if all(isinstance(value, dict) for value in rope.values()):
        return {kind: value for kind, value in rope.items() if value}
    return {"": rope}


def rope_types(config: Any) -> set[str]:
    """The rotary scalings of all layers."""
    return {rope.get("rope_type", "default") for rope in rope_parameters(config).values()}


def rotary(config: Any, layer: int, window: int | None) -> dict[str, Any]:
    """The rotary parameters of one layer, as a layer group of a KVSpec has them."""
    by_type = rope_parameters(config)
    layer_types = getattr(config, "layer_types", None)
    kind = layer_types[layer] if layer_types else "sliding_attention" if window else "full_attention"
    parameters = dict(_plain(by_type.get("", by_type.get(kind, {}))))
    if (partial := getattr(config, "partial_rotary_factor", None)) is not None:
        parameters.setdefault("partial_rotary_factor", partial)
    return parameters


def _plain(value: Any) -> Any:
    """`value` with everything JSON does not know turned into text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
