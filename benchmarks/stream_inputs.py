"""What a simulated stream is made of, measured on a real model: bytes, seconds and KL of every quality."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from codec import (
    CacheGen,
    Codec,
    Frame,
    KVArray,
    KVSpec,
    Lossless,
    Profile,
    Transform,
    bytes_needed,
    decode_chunk,
    encode_chunk,
)
from codec.cachegen import LEVELS
from connectors.hf import ttft
from connectors.hf.scoring import cache_of, distortion, kv_of, logits_behind
from kvstore.streaming import Offer

CHUNK_TOKENS = 128
EXACT_SINKS = 4
"""First tokens that are scored exactly, as in `rate_distortion`."""
QUALITIES = ("high", "balanced", "small")
CACHEGEN = tuple(f"cachegen {level}" for level in LEVELS)
LOSSLESS = "lossless"


@dataclass(frozen=True)
class Measured:
    """Per quality of a chunk: bytes, seconds to decode, KL in nats per token; and seconds to compute chunks."""

    num_bytes: Mapping[str, int]
    decode_s: Mapping[str, float]
    kl: Mapping[str, float]
    compute_s: tuple[float, float]
    """A chunk's when it is the first, and how much more for every chunk before it."""

    def offers(self, num_tokens: int, times_faster: float) -> list[Offer]:
        """Those of a context's chunks, on a machine that computes and decodes so many times faster."""
        first, growth = self.compute_s
        decode_s = {name: seconds / times_faster for name, seconds in self.decode_s.items()}
        chunks = range(num_tokens // CHUNK_TOKENS)
        return [Offer(self.num_bytes, decode_s, (first + growth * chunk) / times_faster) for chunk in chunks]


def measure(
    model: Any, spec: KVSpec, profile: Profile, texts: Sequence[torch.Tensor], context: int, repeats: int
) -> Measured:
    """Over texts, token ids `[1, token]`, whose first `context` tokens are coded and whose others are scored.

    Bytes and KL are means; seconds are the least of `repeats`, the mean over the chunks.
    """
    samples = [_of_text(model, spec, _codecs(profile), text, context, repeats) for text in texts]
    means = {name: np.mean([sample[name] for sample in samples], axis=0) for name in samples[0]}
    return Measured(
        {name: round(mean[0]) for name, mean in means.items()},
        {name: float(mean[1]) for name, mean in means.items()},
        {name: float(mean[2]) for name, mean in means.items()},
        _compute_s(model, texts[0][:, :context], repeats),
    )


def _codecs(profile: Profile) -> list[tuple[Codec, Mapping[str, str | None]]]:
    """Each with what its frames hold: names of qualities, and what `decode_chunk` calls them."""
    cachegen = zip(CACHEGEN, LEVELS, strict=True)
    return [
        (Transform(profile, "progressive"), {quality: quality for quality in QUALITIES}),
        *((CacheGen(level), {name: None}) for name, level in cachegen),
        (Lossless(), {LOSSLESS: None}),
    ]


def _of_text(
    model: Any,
    spec: KVSpec,
    codecs: Sequence[tuple[Codec, Mapping[str, str | None]]],
    text: torch.Tensor,
    context: int,
    repeats: int,
) -> dict[str, tuple[float, float, float]]:
    """Bytes per chunk, seconds to decode one, KL; by quality."""
    computed = ttft.computed_context(model, text[:, :context])
    behind, followed_by = text[:, context:-1], text[0, context + 1 :]
    exact, kv = logits_behind(model, behind, computed), kv_of(spec, computed)
    measured = {}
    for codec, qualities in codecs:
        parts = [kv.tokens(start, start + CHUNK_TOKENS) for start in range(0, context, CHUNK_TOKENS)]
        frames = [Frame(encode_chunk(codec, part, "0" * 64, index * CHUNK_TOKENS)) for index, part in enumerate(parts)]
        for name, quality in qualities.items():
            back = KVArray.empty(spec, context)
            seconds = [_decode_s(frames, back, quality) for _ in range(repeats)]
            for decoded, original in zip((*back.keys, *back.values), (*kv.keys, *kv.values), strict=True):
                decoded[:, :EXACT_SINKS] = original[:, :EXACT_SINKS]
            kl = distortion(exact, logits_behind(model, behind, cache_of(model, back)), followed_by).kl
            num_bytes = statistics.mean(bytes_needed(frame.header, quality) for frame in frames)
            measured[name] = num_bytes, min(seconds), kl
    return measured


def _decode_s(frames: Sequence[Frame], into: KVArray, quality: str | None) -> float:
    started = time.perf_counter()
    for index, frame in enumerate(frames):
        decode_chunk(frame, into.tokens(index * CHUNK_TOKENS, (index + 1) * CHUNK_TOKENS), quality=quality)
    return (time.perf_counter() - started) / len(frames)


@torch.no_grad()
def _compute_s(model: Any, context: torch.Tensor, repeats: int) -> tuple[float, float]:
    """A line through the seconds that each chunk of the context takes behind those before it."""
    num_chunks = context.shape[1] // CHUNK_TOKENS
    least = np.min([_compute_chunks_s(model, context, num_chunks) for _ in range(repeats)], axis=0)
    growth, first = np.polyfit(np.arange(num_chunks), least, 1)
    return float(first), max(float(growth), 0.0)


def _compute_chunks_s(model: Any, context: torch.Tensor, num_chunks: int) -> list[float]:
    seconds = []
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    for chunk in range(num_chunks):
        tokens = context[:, chunk * CHUNK_TOKENS : (chunk + 1) * CHUNK_TOKENS]
        started = time.perf_counter()
        model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
        seconds.append(time.perf_counter() - started)
    return seconds
