"""What a call of `generate` asks for, as far as the store is concerned, or why it is none of its business."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

_ROOM_TOKENS = 512  # left in the cache for generated tokens; it grows when more come
_UNDERSTOOD = {
    "attention_mask",
    "generation_config",
    "input_ids",
    "inputs",
    "logits_processor",
    "prefix_allowed_tokens_fn",
    "stopping_criteria",
    "streamer",
    "synced_gpus",
    "tokenizer",
    "use_model_defaults",
}
_OWN_PREFILL = (
    "assistant_early_exit",
    "assistant_model",
    "cache_implementation",
    "constraints",
    "custom_generate",
    "dola_layers",
    "force_words_ids",
    "guidance_scale",
    "output_attentions",
    "output_hidden_states",
    "penalty_alpha",
    "prefill_chunk_size",
    "prompt_lookup_num_tokens",
    "token_healing",
    "use_mtp",
)
"""Options that need the whole prompt computed, or bring a cache or a prefill of their own."""


class Bypass(Exception):
    """The store cannot help with this call; the message says why. The model then runs as if alone."""


@dataclass(frozen=True)
class Row:
    """One prompt of the batch: `token_ids` stand in columns [pad, pad + len(token_ids))."""

    pad: int
    token_ids: list[int]


@dataclass(frozen=True)
class Request:
    """The prompts of one `generate` call."""

    input_ids: torch.Tensor
    rows: tuple[Row, ...]
    copies: int
    """Beams or returned sequences per prompt: rows of the running batch for each row here."""
    reorders: bool
    """Whether generation may exchange the rows' caches (beam search)."""
    room: int
    """Tokens to leave room for behind the prompt, so that most answers never make the cache grow."""

    @property
    def num_columns(self) -> int:
        return self.input_ids.shape[1]


def read_request(model: PreTrainedModel, kwargs: Mapping[str, Any], max_exact_tokens: int | None) -> Request:
    """Reads the arguments of `generate`. Raises Bypass with the reason."""

    def option(name: str) -> Any:
        """As `generate` resolves it: the call, then its generation config, then the model's."""
        sources = kwargs.get(name), getattr(kwargs.get("generation_config"), name, None)
        return next((value for value in sources if value is not None), getattr(model.generation_config, name, None))

    if own := [name for name in _OWN_PREFILL if option(name) not in (None, False, "dynamic")]:
        raise Bypass(f"{', '.join(own)} needs a prefill of its own")
    known = _UNDERSTOOD | set(vars(model.generation_config))
    if strange := sorted(name for name, value in kwargs.items() if value is not None and name not in known):
        raise Bypass(f"the prompt depends on {', '.join(strange)}, which is no part of a chunk's key")
    if torch.is_autocast_enabled(model.device.type):
        raise Bypass("autocast computes keys and values in another precision than the model's own")
    if option("use_cache") is False:
        raise Bypass("use_cache is False")
    input_ids = kwargs.get("inputs") if kwargs.get("input_ids") is None else kwargs.get("input_ids")
    if not isinstance(input_ids, torch.Tensor) or input_ids.ndim != 2 or not input_ids.numel():
        raise Bypass("there are no input_ids [batch, token]")
    new_tokens = option("max_new_tokens") or max((option("max_length") or 0) - input_ids.shape[1], 0) or _ROOM_TOKENS
    if max_exact_tokens is not None and input_ids.shape[1] + new_tokens > max_exact_tokens:
        raise Bypass(f"beyond {max_exact_tokens} tokens this model's keys depend on the length of the sequence")
    beams, sequences = option("num_beams") or 1, option("num_return_sequences") or 1
    rows = _rows(input_ids, kwargs.get("attention_mask"), option("pad_token_id"), option("eos_token_id"))
    return Request(input_ids, rows, max(beams, sequences), beams > 1, min(new_tokens, _ROOM_TOKENS))


def _rows(input_ids: torch.Tensor, mask: torch.Tensor | None, pad_token_id: Any, eos_token_id: Any) -> tuple[Row, ...]:
    """The prompts without their left padding."""
    if mask is None:
        ends = eos_token_id if isinstance(eos_token_id, list) else [eos_token_id]
        if pad_token_id not in (None, *ends) and bool((input_ids == pad_token_id).any()):
            raise Bypass("padding without an attention_mask")
        mask = torch.ones_like(input_ids)
    if mask.shape != input_ids.shape:
        raise Bypass(f"the attention_mask is {tuple(mask.shape)}, input_ids are {tuple(input_ids.shape)}")
    mask = mask.bool()
    pads = (~mask).sum(dim=1)
    if not bool(mask[:, -1].all()) or bool(
        (mask != (torch.arange(mask.shape[1], device=mask.device) >= pads[:, None])).any()
    ):
        raise Bypass("the attention_mask has holes, or pads on the right")
    return tuple(Row(pad, ids[pad:]) for pad, ids in zip(pads.tolist(), input_ids.tolist(), strict=True))
