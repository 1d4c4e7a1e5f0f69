"""What this engine's KV caches look like: the block size that both sides agree on, and the layout of its pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from vllm.config import VllmConfig
from vllm.platforms import current_platform
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVQuantMode

from codec import KVSpec
from connectors.vllm.errors import UnsupportedEngine
from connectors.vllm.page_views import PageLayout

_OF_ISA = {"vec": PageLayout.VECTOR, "vec16": PageLayout.VECTOR, "amx": PageLayout.AMX}
_PACKED_BACKENDS = {"FLASH_ATTN", "TRITON_ATTN", "FLASHINFER", "FLEX_ATTENTION"}


def block_tokens_of(kv_cache_config: KVCacheConfig, spec: KVSpec) -> int:
    """Tokens of one block of the scheduler. Both of a connector's roles can ask, before there are caches.

    Raises UnsupportedEngine unless all layers of the spec are in one group of plain, full attention.
    """
    groups = kv_cache_config.kv_cache_groups
    if len(groups) != 1:
        raise UnsupportedEngine(f"the engine has {len(groups)} groups of KV caches; only one is supported")
    kind, num_layers = groups[0].kv_cache_spec, len(groups[0].layer_names)
    if type(kind) is not FullAttentionSpec:
        raise UnsupportedEngine(f"KV caches of kind {type(kind).__name__} are not supported")
    if num_layers != spec.num_layers:
        raise UnsupportedEngine(f"the engine keeps KV of {num_layers} layers; the model has {spec.num_layers}")
    if kind.kv_quant_mode != KVQuantMode.NONE or str(kind.dtype) != f"torch.{spec.dtype}":
        raise UnsupportedEngine(f"the engine keeps KV as {kind.dtype} ({kind.kv_quant_mode.name}), not {spec.dtype}")
    if kind.sliding_window or kind.attention_chunk_size or kind.non_causal or kind.tokens_per_state != 1:
        raise UnsupportedEngine(f"KV caches of {kind} are not those of causal attention to all tokens")
    return int(kind.block_size)


def layout_of(vllm_config: VllmConfig, caches: Mapping[str, torch.Tensor]) -> PageLayout:
    """The layout of the caches that a worker was given to register.

    Raises UnsupportedEngine, naming the value, for quantized caches, MLA, state-space layers, and whatever else is
    not known to be one of `PageLayout`.
    """
    dtype = vllm_config.model_config.dtype
    if unlike := {str(cache.dtype) for cache in caches.values() if cache.dtype != dtype}:
        named = vllm_config.cache_config.cache_dtype
        raise UnsupportedEngine(f"kv-cache dtype {named!r} ({', '.join(sorted(unlike))}) is not the model's, {dtype}")
    context = vllm_config.compilation_config.static_forward_context
    if missing := caches.keys() - context.keys():
        raise UnsupportedEngine(f"KV caches {sorted(missing)} are of no layer of the model")
    layouts = {_layout_of_layer(name, context[name]) for name in caches}
    if len(layouts) != 1:
        raise UnsupportedEngine(f"the layers have {len(layouts)} different layouts")
    layout = layouts.pop()
    name = vllm_config.cache_config.get_resolved_kv_cache_layout().name
    if layout is not PageLayout.PACKED and name != "LBHNC":
        raise UnsupportedEngine(f"KV cache layout {name} is not known on a CPU")
    return layout


def _layout_of_layer(name: str, layer: Any) -> PageLayout:
    backend = layer.get_attn_backend().get_name()
    if backend == "CPU_ATTN":
        if (isa := getattr(layer, "isa", None)) not in _OF_ISA:
            raise UnsupportedEngine(f"{name} packs its KV for the instruction set {isa!r}, in a way not known")
        return _OF_ISA[isa]
    if backend not in _PACKED_BACKENDS or current_platform.is_rocm():  # ROCm's backends of these names shuffle keys
        raise UnsupportedEngine(f"{name} uses attention backend {backend}, whose KV layout is not known")
    return PageLayout.PACKED
