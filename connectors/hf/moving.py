"""Whether a model's keys can be moved to other positions, found out by trying."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from codec import KVSpec, UnsupportedRotary, rotary_of_layers
from connectors.hf.fusing import layers_of

_CLOSE = 0.1  # of a layer's largest key: more than bfloat16's rounding; keys turned wrongly are off by 1


@torch.no_grad()
def require_movable(model: PreTrainedModel, spec: KVSpec) -> None:
    """Raises UnsupportedRotary unless the keys of every layer at later positions are those moved there, and
    UnsupportedModel where its layers cannot be hooked into.

    A spec names the frequencies, not which channels turn together, nor that some layers may turn none: both show here.
    Each layer is given the same states at both positions: what rounding makes of them would add up from layer to layer,
    in bfloat16 to a fifth of a key.
    """
    token_ids, later, states = torch.arange(1, 9, device=model.device)[None], 37, dict[int, torch.Tensor]()
    with _given(model, states):
        here, there = (_keys(model, token_ids, start) for start in (0, later))
    for layer, (before, after, rotary) in enumerate(zip(here, there, rotary_of_layers(spec), strict=True)):
        moved = rotary.move(before, 0, later)
        if (moved - after).abs().max() > _CLOSE * after.abs().max():
            raise UnsupportedRotary(f"layer {layer} of {spec.model} turns its keys in another way than its config says")


@contextmanager
def _given(model: PreTrainedModel, states: dict[int, torch.Tensor]) -> Iterator[None]:
    """Every layer is given the states, by its number, that it was given first."""

    def before(number: int) -> Any:
        def replace(layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            return states.setdefault(number, args[0]), *args[1:]

        return replace

    handles = [layer.register_forward_pre_hook(before(number)) for number, layer in enumerate(layers_of(model))]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _keys(model: PreTrainedModel, token_ids: torch.Tensor, start: int) -> list[torch.Tensor]:
    """Of every layer, float32 `[kv_head, token, dim]`, when the first token stands at `start`."""
    positions = torch.arange(start, start + token_ids.shape[1], device=model.device)[None]
    cache = model(input_ids=token_ids, position_ids=positions, use_cache=True).past_key_values
    return [layer.keys[0].float() for layer in cache.layers]
