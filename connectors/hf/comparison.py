"""What the demo compares: one context, several questions, with and without the store."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache

from codec import Codec, KVArray
from connectors.hf import ttft
from connectors.hf.cached_model import CachedModel
from connectors.hf.prompts import SharedContext
from connectors.hf.scoring import Distortion, cache_of, distortion, logits_behind
from kvstore import DiskTier, KVStore, MemoryTier

_MEMORY_BYTES, _DISK_BYTES = 8 << 30, 64 << 30
_BFLOAT16_BYTES = 2
_NEW_PROCESSES = 3  # their median: a first look at a disk varies


@dataclass(frozen=True)
class Comparison:
    """One codec at one context length; times are medians over the questions, in seconds.

    `kl` (nats) and `top1` compare the next-token distributions on top of the stored context with those on
    top of the computed one, position by position over every question and its reference answer: means.
    """

    codec: str
    lossless: bool
    context_tokens: int
    ttft_none_s: float
    ttft_memory_s: float
    ttft_disk_new_process_s: float
    bytes_per_token: float
    bf16_bytes_per_token: int
    kl: float
    top1: float
    same_tokens: bool
    tokens_compared: int


@dataclass(frozen=True)
class _Reference:
    """Without the store: the context's KV, the answers on top of it, the median time to first token."""

    computed: DynamicCache
    answers: list[list[int]]
    none_s: float


def compare(
    model: Any,
    directory: str,
    context: SharedContext,
    codecs: Mapping[str, Codec],
    new_tokens: int,
    step: Callable[[str], None],
) -> list[Comparison]:
    """One row per codec; the new processes, which load the model from `directory`, look at all stores in turn."""
    prompts, rows, cases = context.prompts(), [], []
    step(f"{context.num_tokens} tokens, without the store")
    none_s = statistics.median(ttft.first_token_s(model, prompt) for prompt in prompts)
    computed = ttft.computed_context(model, context.context)
    answers = [ttft.reference_answer(model, computed, prompt, new_tokens) for prompt in prompts]
    with tempfile.TemporaryDirectory(prefix="kvstore-demo-") as scratch:
        for name, codec in codecs.items():
            step(f"{context.num_tokens} tokens, {name}")
            path = Path(scratch) / name
            rows.append(_from_memory(model, context, name, codec, _Reference(computed, answers, none_s), path))
            ids = prompts[0][0].tolist()
            cases.append(ttft.NewProcessCase(str(path), codec.id, ids, new_tokens, codec.params()))
        step(f"{context.num_tokens} tokens, new processes")
        samples = [ttft.in_new_process(directory, model.dtype, cases) for _ in range(_NEW_PROCESSES)]
    return [
        replace(
            row,
            ttft_disk_new_process_s=statistics.median(fresh.open_s + fresh.first_token_s for fresh in seen),
            same_tokens=row.same_tokens and all(fresh.token_ids == answers[0] for fresh in seen),
            tokens_compared=row.tokens_compared + new_tokens * len(seen),
        )
        for row, seen in zip(rows, zip(*samples, strict=True), strict=True)
    ]


def _from_memory(
    model: Any, context: SharedContext, name: str, codec: Codec, reference: _Reference, path: Path
) -> Comparison:
    """Saves the context in `path` and asks from RAM; what a new process sees is still to be filled in."""
    num_new, prompts = len(reference.answers[0]), context.prompts()
    with KVStore([MemoryTier(_MEMORY_BYTES), DiskTier(path, _DISK_BYTES)], codec) as store:
        ttft.save_context(model, store, context.context)
        frame_bytes = sum(entry.size_bytes for entry in store.tier.entries())
        with CachedModel(model, store) as cached:
            memory_s = statistics.median(ttft.first_token_s(cached, prompt) for prompt in prompts)
            answers = [ttft.answer(cached, prompt, num_new) for prompt in prompts]
            elements = cached.spec.bytes_per_token // model.dtype.itemsize
            loaded = store.load(store.match(store.identity(cached.spec), context.context[0].tolist()))
    distances = [
        _distance(model, reference.computed, loaded, prompt, answer)
        for prompt, answer in zip(prompts, reference.answers, strict=True)
    ]
    return Comparison(
        codec=name,
        lossless=codec.lossless,
        context_tokens=context.num_tokens,
        ttft_none_s=reference.none_s,
        ttft_memory_s=memory_s,
        ttft_disk_new_process_s=math.nan,
        bytes_per_token=frame_bytes / context.num_tokens,
        bf16_bytes_per_token=elements * _BFLOAT16_BYTES,
        kl=statistics.mean(each.kl for each in distances),
        top1=statistics.mean(each.top1 for each in distances),
        same_tokens=answers == reference.answers,
        tokens_compared=num_new * len(prompts),
    )


def _distance(
    model: Any, computed: DynamicCache, loaded: KVArray | None, prompt: torch.Tensor, answer: Sequence[int]
) -> Distortion:
    """Over the question and the reference answer; what the store did not give back is computed."""
    whole, known = torch.cat([prompt, torch.tensor([answer])], dim=1), computed.get_seq_length()
    held = 0 if loaded is None else loaded.num_tokens
    cache = None if loaded is None else cache_of(model, loaded)
    exact = logits_behind(model, whole[:, known:-1], computed)
    other = logits_behind(model, whole[:, held:-1], cache)[known - held :]
    return distortion(exact, other, whole[0, known + 1 :])
