"""A context's KV, and how much what the model says behind it depends on every number of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel


@dataclass(frozen=True)
class LayerGradients:
    """One layer's keys and values `[kv_head, token, dim]` of a context, and the gradients with respect to them."""

    keys: torch.Tensor
    values: torch.Tensor
    key_gradients: torch.Tensor
    value_gradients: torch.Tensor


class _RememberingCache(DynamicCache):
    """Hands attention the tensors whose gradients will be asked for, and remembers them by layer."""

    def __init__(self, config: Any) -> None:
        super().__init__(config=config)
        self.seen: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any) -> Any:
        key_states.retain_grad()
        value_states.retain_grad()
        self.seen[layer_idx] = key_states, value_states
        return key_states, value_states


def gradients_of(model: PreTrainedModel, token_ids: torch.Tensor, num_context: int) -> Iterator[LayerGradients]:
    """Layer by layer, for the first `num_context` of `token_ids` `[1, token]`.

    The gradient is that of -log p(y | all tokens before), summed over the tokens behind the context, each
    y drawn from the model's own distribution. Draws at different tokens are independent and their
    gradients have mean zero, so the sum's second moment is the sum of theirs: one backward pass does all.
    """
    cache = _RememberingCache(model.config.get_text_config(decoder=True))
    embedded = model.get_input_embeddings()(token_ids).detach().requires_grad_()
    behind = token_ids.shape[1] - num_context
    output = model(inputs_embeds=embedded, past_key_values=cache, use_cache=True, logits_to_keep=behind)
    log_probabilities = output.logits[0].float().log_softmax(dim=-1)
    said = torch.multinomial(log_probabilities.detach().exp(), 1)
    (-log_probabilities.gather(1, said).sum()).backward()
    for layer in sorted(cache.seen):
        keys, values = cache.seen[layer]
        assert keys.grad is not None
        assert values.grad is not None
        parts = (keys.detach(), values.detach(), keys.grad, values.grad)
        yield LayerGradients(*(part[0, :, :num_context] for part in parts))
