"""A small model that answers chats, greedily and several at once, and what that takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from semantic_cache.examples import Message

_AT_ONCE = 16
_MOST_TOKENS = 16


@dataclass(frozen=True)
class Answered:
    said: str
    prompt_tokens: int
    cpu_s: float
    """Of the process, an even share of what was answered at once."""


class SmallModel:
    """Answers of at most 16 tokens: what rambles on longer does not get to say its answer."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._tokenizer.padding_side = "left"

    def answer(self, chats: Sequence[Sequence[Message]]) -> list[Answered]:
        """In their order; chats of about the same length are answered together."""
        texts = [
            self._tokenizer.apply_chat_template(list(chat), tokenize=False, add_generation_prompt=True)
            for chat in chats
        ]
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        answered: dict[int, Answered] = {}
        for start in range(0, len(order), _AT_ONCE):
            places = order[start : start + _AT_ONCE]
            answered.update(zip(places, self._answer_at_once([texts[place] for place in places]), strict=True))
        return [answered[place] for place in range(len(texts))]

    @torch.no_grad()
    def _answer_at_once(self, texts: Sequence[str]) -> list[Answered]:
        started = time.process_time()
        prompts = self._tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        said = self._model.generate(
            **prompts, max_new_tokens=_MOST_TOKENS, do_sample=False, pad_token_id=self._tokenizer.eos_token_id
        )
        cpu_s = (time.process_time() - started) / len(texts)
        behind = self._tokenizer.batch_decode(said[:, prompts.input_ids.shape[1] :], skip_special_tokens=True)
        return [
            Answered(text.strip(), int(mask.sum()), cpu_s)
            for text, mask in zip(behind, prompts.attention_mask, strict=True)
        ]
