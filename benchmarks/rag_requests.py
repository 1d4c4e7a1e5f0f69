"""Requests with passages, most of which stood in earlier ones: how many a second, blended and computed in full."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from blend import Layout
from connectors.hf import CachedModel
from connectors.hf.blend_quality import asked_prompt
from connectors.hf.blending import Blending
from kvstore import KVStore

_BLOCK = 10  # requests of one kind in a row: a machine's speed drifts


def requests(
    tokenizer: Any, passages: Sequence[str], questions: Sequence[str], number: int, each: int, seen: float
) -> Iterator[tuple[Layout, int]]:
    """Prompts of `each` passages, and how many of these stood in an earlier one: a share of `seen` on average.

    The first prompt's are all new.
    """
    chosen, known, new = random.Random(0), list[str](), iter(passages)
    for index in range(number):
        old = [chosen.random() < seen and len(known) >= each for _ in range(each)]
        again = chosen.sample(known, sum(old)) if any(old) else []
        fresh = [next(new) for _ in range(each - len(again))]
        known += fresh
        mixed = chosen.sample([*again, *fresh], each)
        yield asked_prompt(tokenizer, mixed, questions[index % len(questions)]).layout, len(again)


def measure(
    model: Any, store: KVStore, blending: Blending, prompts: Sequence[tuple[Layout, int]], step: Callable[[], object]
) -> dict[str, float]:
    """Every prompt's first token, blended and in full; what blending learns beside the engine is waited for."""
    blended_s = full_s = 0.0
    with CachedModel(model, store, blending=blending) as cached:
        if cached.blender is None:
            raise RuntimeError("this model cannot be blended")
        for first in range(0, len(prompts), _BLOCK):
            block = [layout for layout, _ in prompts[first : first + _BLOCK]]
            started_s = time.perf_counter()
            for layout in block:
                _first_token(cached, layout, segments=layout.segments)
                step()
            cached.blender.beside.wait()
            cached.flush()
            blended_s += time.perf_counter() - started_s
            started_s = time.perf_counter()
            for layout in block:
                _first_token(model, layout)
                step()
            full_s += time.perf_counter() - started_s
    slots = sum(len(layout.segments) for layout, _ in prompts)
    counts, tokens = store.metrics.snapshot(), sum(len(layout.token_ids) for layout, _ in prompts)
    return {
        "requests": len(prompts),
        "passages_seen": sum(seen for _, seen in prompts) / slots,
        "tokens_reused": counts["tokens_blended"] / tokens,
        "full_per_s": len(prompts) / full_s,
        "blended_per_s": len(prompts) / blended_s,
        "times": full_s / blended_s,
    }


def _first_token(model: Any, layout: Layout, **kwargs: Any) -> None:
    ids = torch.tensor([layout.token_ids])
    model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=1, do_sample=False, **kwargs)
