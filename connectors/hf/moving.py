"""Whether a model's keys can be moved to other positions, found out by trying."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from codec import KVSpec, UnsupportedRotary, rotary_of_layers

_CLOSE = 0.1  # of a layer's largest key: in bfloat16 layers add up their rounding; keys turned wrongly are off by 1


@torch.no_grad()
def require_movable(model: PreTrainedModel, spec: KVSpec) -> None:
    """Raises UnsupportedRotary unless the keys of every layer at later positions are those moved there.

    A spec names the frequencies, not which channels turn together, nor that some layers may turn none: both show here,
    since what a layer computes depends on how far apart its tokens are and not on where they stand.
    """
    token_ids, later = torch.arange(1, 9, device=model.device)[None], 37
    here, there = (_keys(model, token_ids, start) for start in (0, later))
    for layer, (before, after, rotary) in enumerate(zip(here, there, rotary_of_layers(spec), strict=True)):
        moved = rotary.move(before, 0, later)
        if (moved - after).abs().max() > _CLOSE * after.abs().max():
            raise UnsupportedRotary(f"layer {layer} of {spec.model} turns its keys in another way than its config says")


def _keys(model: PreTrainedModel, token_ids: torch.Tensor, start: int) -> list[torch.Tensor]:
    """Of every layer, float32 `[kv_head, token, dim]`, when the first token stands at `start`."""
    positions = torch.arange(start, start + token_ids.shape[1], device=model.device)[None]
    cache = model(input_ids=token_ids, position_ids=positions, use_cache=True).past_key_values
    return [layer.keys[0].float() for layer in cache.layers]
