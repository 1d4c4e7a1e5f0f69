"""Whether a model's keys can be moved to other positions, found out by trying."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from codec import KVSpec, Rotary, UnsupportedRotary


@torch.no_grad()
def require_movable(model: PreTrainedModel, spec: KVSpec) -> None:
    """Raises UnsupportedRotary unless the model's first keys at a later position are those moved there.

    A spec names the frequencies, not which channels turn together: interleaved layouts show here.
    """
    token_ids, later = torch.arange(8, device=model.device)[None], 37
    here = model(input_ids=token_ids, use_cache=True).past_key_values.layers[0].keys[0].float()
    positions = torch.arange(later, later + token_ids.shape[1], device=model.device)[None]
    there = model(input_ids=token_ids, position_ids=positions, use_cache=True).past_key_values.layers[0].keys[0].float()
    moved = Rotary.of(spec.group_of[0]).move(here, 0, later)
    if (moved - there).abs().max() > 0.02 * there.abs().max():
        raise UnsupportedRotary(f"{spec.model} turns its keys in another layout than its parameters say")
