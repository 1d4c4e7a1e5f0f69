"""The gate for one model: blends questions behind passages at growing shares, and says which is enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from transformers import PreTrainedModel

from blend import Selector
from blend.gate import Verdict
from connectors.hf.blend_quality import AskedPrompt, Step, compare
from connectors.hf.blending import Blender, Blending
from kvstore import Identity, KVStore


def judge(
    model: PreTrainedModel,
    tokenizer: Any,
    store: KVStore,
    identity: Identity,
    prompts: Sequence[AskedPrompt],
    selector: Selector,
    shares: Sequence[float],
    behind: tuple[int, ...],
    bound: float,
    step: Step = lambda doing: None,
) -> Verdict:
    """Measures every share on every prompt, as `compare` does. Raises UnsupportedModel.

    The prompts' segments are saved in the store: what the codec loses is part of what is measured.
    """
    blending = Blending(0.0, 0.0, selector, behind)
    blender = Blender(model, store, identity, blending)
    blenders = {share: (share, blender.in_way(replace(blending, share=share, most=share))) for share in shares}
    found = compare(model, tokenizer, blenders, prompts, step)
    return Verdict(
        spec=identity.spec.fingerprint(),
        codec=identity.codec,
        device=model.device.type,
        selector=selector.id,
        behind=behind,
        bound=bound,
        prompts=len(prompts),
        full_f1=found.full_f1,
        measured=tuple(found.measured.values()),
    )
