"""Requests with passages, most of which stood in earlier ones: how many a second, blended and computed in full."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from blend import Layout
from connectors.hf import CachedModel
from connectors.hf.blend_quality import asked_prompt
from connectors.hf.blending import Blending
from connectors.hf.ttft import first_token_s
from kvstore import KVStore

_KNOWN = 10  # passages that stood in others before, for each of a prompt's
_BLOCK = 10  # requests of one kind in a row: a machine's speed drifts


@dataclass(frozen=True)
class Requests:
    """Prompts, and the token ids of the passages that stood in others before them."""

    prompts: list[Layout]
    seen: list[tuple[int, ...]]
    share_seen: float
    """Of the prompts' passages."""


def requests(
    tokenizer: Any, passages: Sequence[str], questions: Sequence[str], number: int, each: int, seen: float
) -> Requests:
    """Prompts of `each` passages, on average a share of `seen` of them out of some that stood in others before."""
    chosen, known, new = random.Random(0), passages[: each * _KNOWN], iter(passages[each * _KNOWN :])
    prompts, again = [], 0
    for index in range(number):
        old = chosen.sample(known, sum(chosen.random() < seen for _ in range(each)))
        mixed = chosen.sample([*old, *(next(new) for _ in range(each - len(old)))], each)
        prompts.append(asked_prompt(tokenizer, mixed, questions[index % len(questions)]).layout)
        again += len(old)
    before = asked_prompt(tokenizer, known, questions[0]).layout
    return Requests(prompts, [before.tokens(segment) for segment in before.segments], again / (number * each))


def measure(
    model: Any, store: KVStore, blending: Blending, asked: Requests, step: Callable[[], object]
) -> dict[str, float]:
    """Every prompt's first token, blended and in full; what blending learns beside the engine is waited for."""
    blended_s = full_s = 0.0
    with CachedModel(model, store, blending=blending) as cached:
        if cached.blender is None:
            raise RuntimeError("this model cannot be blended")
        deque(cached.blender.warm(asked.seen), maxlen=0)
        for first in range(0, len(asked.prompts), _BLOCK):
            block = asked.prompts[first : first + _BLOCK]
            started_s = time.perf_counter()
            for layout in block:
                first_token_s(cached, torch.tensor([layout.token_ids]), segments=layout.segments)
                step()
            cached.blender.beside.flush()
            cached.flush()
            blended_s += time.perf_counter() - started_s
            started_s = time.perf_counter()
            for layout in block:
                first_token_s(model, torch.tensor([layout.token_ids]))
                step()
            full_s += time.perf_counter() - started_s
    counts, tokens = store.metrics.snapshot(), sum(len(layout.token_ids) for layout in asked.prompts)
    return {
        "learns": blending.learns,
        "requests": len(asked.prompts),
        "passages_seen": asked.share_seen,
        "tokens_reused": counts["tokens_blended"] / tokens,
        "full_per_s": len(asked.prompts) / full_s,
        "blended_per_s": len(asked.prompts) / blended_s,
        "times": full_s / blended_s,
    }
