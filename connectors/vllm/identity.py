"""Whose KV it is: the KVSpec of what vLLM runs, and what of a request belongs to its identity."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from codec import KVSpec, LayerGroup
from connectors.model_identity import FIXED_ROPE, model_name, rope_types, rotary
from connectors.vllm.checkpoint import revision_of
from connectors.vllm.errors import UnsupportedEngine
from connectors.vllm.owner import Owner
from kvstore import InvalidRequest, LoRA, Multimodal

_SALTED = " salted "
_CONTENT_HASH = re.compile(r"(.*:)?([0-9a-f]{64}|[0-9a-f]{128})", re.DOTALL)


def spec_of(vllm_config: Any, rank: int, revision: str | None = None) -> KVSpec:
    """What must be equal for another engine's KV to stand in for that of the tensor-parallel `rank` of this one.

    Equal to what `connectors.hf` says of the same checkpoint in the same dtype, so that each loads what the other
    saved. The weights are digested, which reads them all, unless `revision` names them. Weights that are replaced
    while the engine runs are not seen. Raises UnsupportedEngine with the reason.
    """
    model, parallel = vllm_config.model_config, vllm_config.parallel_config
    config = model.hf_config.get_text_config(decoder=True)
    _require_support(vllm_config, config)
    layers, head_dim = tuple(range(model.get_total_num_hidden_layers())), model.get_head_size()
    group = LayerGroup(layers, model.get_num_kv_heads(parallel), head_dim, head_dim, None, rotary(config, 0, None))
    return KVSpec(
        model=model_name(model.model),
        revision=revision or revision_of(vllm_config),
        dtype=str(model.dtype).removeprefix("torch."),
        groups=(group,),
        tp_rank=rank,
        tp_size=parallel.tensor_parallel_size,
    )


def owner_of(request: Any, tenant: str) -> Owner | None:
    """Whose one of vLLM's requests is; None when nothing of it can be kept.

    That is so for embeddings in place of tokens, and for inputs that are named and not hashed: the same name may be
    another picture's tomorrow. Raises InvalidRequest for a tenant that could be taken for a salted one.
    """
    if request.prompt_embeds is not None:
        return None
    inputs = [(feature.identifier, feature.mm_position) for feature in request.mm_features or ()]
    if not all(_CONTENT_HASH.fullmatch(name) for name, _ in inputs):
        return None
    adapter = request.lora_request
    return Owner(
        tenant=_salted(tenant, request.cache_salt),
        lora=LoRA(adapter.lora_name, adapter.lora_path) if adapter else None,
        multimodal=tuple(Multimodal(name, at.offset, at.offset + at.length) for name, at in inputs),
    )


def _salted(tenant: str, salt: str | None) -> str:
    """A tenant of its own for every salt. The salt may be a secret, so what is stored is a digest."""
    if _SALTED in tenant:
        raise InvalidRequest(f"tenant {tenant!r} is not possible: {_SALTED!r} stands before the digest of a salt")
    if not salt:
        return tenant
    return tenant + _SALTED + hashlib.sha256(json.dumps([tenant, salt]).encode()).hexdigest()


def _require_support(vllm_config: Any, config: Any) -> None:
    """Raises UnsupportedEngine with the first reason why this engine's KV cannot be kept."""
    model, parallel, cache_dtype = vllm_config.model_config, vllm_config.parallel_config, _cache_dtype(vllm_config)
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    ropes = rope_types(config) - FIXED_ROPE
    reasons = {
        "it uses multi-head latent attention": model.use_mla,
        f"its attention is {model.attn_type}": model.attn_type != "decoder",
        f"its layers are {', '.join(sorted(kinds))}": kinds,
        f"its attention has a window of {model.get_sliding_window()} tokens": model.get_sliding_window() is not None,
        "it attends in both directions": getattr(config, "use_bidirectional_attention", False) or model.is_mm_prefix_lm,
        "it shares KV between layers": getattr(config, "num_kv_shared_layers", 0),
        f"rotary scaling {', '.join(sorted(ropes))} may change a prefix's keys in longer prompts": ropes,
        f"KV caches are {cache_dtype}": cache_dtype is not None,
        "pictures are counted, not hashed: give it prefix caching or a processor cache": not _hashes_inputs(
            vllm_config
        ),
        "pipeline parallelism leaves a worker some of the layers": parallel.pipeline_parallel_size > 1,
        "context parallelism leaves a worker some of the tokens": parallel.decode_context_parallel_size > 1
        or parallel.prefill_context_parallel_size > 1,
    }
    for reason, holds in reasons.items():
        if holds:
            raise UnsupportedEngine(f"{model.model} in vLLM is not supported: {reason}")


def _hashes_inputs(vllm_config: Any) -> bool:
    """Whether inputs other than tokens are named by their content: vLLM numbers them where it caches nothing."""
    multimodal = vllm_config.model_config.multimodal_config
    cached = multimodal is None or multimodal.mm_processor_cache_gb > 0
    return cached or bool(vllm_config.cache_config.enable_prefix_caching)


def _cache_dtype(vllm_config: Any) -> str | None:
    """The dtype of the KV caches where it is not the model's."""
    asked, own = vllm_config.cache_config.cache_dtype, str(vllm_config.model_config.dtype).removeprefix("torch.")
    return None if asked in ("auto", own) else str(asked)
