"""The gate for one model: blends questions behind passages at growing shares, and says which is enough."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from transformers import PreTrainedModel

from blend import Selector, Shares
from blend.gate import Measured, Verdict
from connectors.hf.blend_quality import AskedPrompt, InFull, averaged, segments_of
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
    step: Callable[[str], object] = lambda doing: None,
) -> Verdict:
    """Measures every share on every prompt; `step` is called `num_steps` times. Raises UnsupportedModel.

    The prompts' segments are saved in the store: what the codec loses is part of what is measured.
    """
    blenders = {
        share: Blender(model, store, identity, Blending(Shares(share, share), selector, behind)) for share in shares
    }
    for _ in blenders[shares[0]].warm(segments_of(prompts)):
        step("computing passages")
    measured: dict[float, list[Measured]] = {share: [] for share in shares}
    full_f1 = []
    for asked in prompts:
        full = InFull(model, tokenizer, asked)
        full_f1.append(full.f1)
        step("computing a prompt in full")
        for share in shares:
            measured[share].append(full.against(blenders[share], share))
            step(f"recomputing {share:.0%}")
    return Verdict(
        spec=identity.spec.fingerprint(),
        codec=identity.codec,
        selector=selector.id,
        behind=behind,
        bound=bound,
        prompts=len(prompts),
        full_f1=statistics.fmean(full_f1),
        measured=tuple(averaged(measured[share]) for share in shares),
    )


def num_steps(prompts: Sequence[AskedPrompt], shares: Sequence[float]) -> int:
    """How often `judge` calls `step`."""
    return len(list(segments_of(prompts))) + len(prompts) * (1 + len(shares))
