"""How many tokens should a chunk have, and would storing the last, partial one pay?

A context of some length is stored, then a question of 16 tokens comes behind it. Only full chunks come
back, so what is left of the context is computed again with the question: `unaligned` is the median over
contexts that end anywhere in a chunk, `aligned` over contexts that end with one. Their difference is
what storing a partial last chunk could save at best, and only where the next prompt leaves the shared
text at the very token where the stored one ended.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from rich.progress import track

from benchmarks.report import parser, publish
from codec import KVArray, codec_from
from connectors.hf import CachedModel, spec_of, ttft
from connectors.hf.models import demo_model_dir, fast_dtype, load_model
from connectors.hf.prompts import shipped_document
from connectors.hf.scoring import kv_of
from kvstore import KVStore, MemoryTier

_QUESTION_TOKENS = 16
_MEMORY_BYTES = 12 << 30


def main() -> None:
    arguments = _arguments()
    dtype = fast_dtype() if arguments.dtype == "auto" else getattr(torch, arguments.dtype)
    model, tokenizer = load_model(arguments.model or demo_model_dir(), dtype)
    text = torch.tensor([tokenizer(shipped_document()).input_ids])
    largest = max(arguments.sizes)
    computed = ttft.computed_context(model, text[:, : arguments.context + largest])
    kv = kv_of(spec_of(model), computed)
    cases = [(name, size) for name in arguments.codecs.split(",") for size in arguments.sizes]
    rows = [
        _row(model, text, kv, codec, size, arguments.context, arguments.samples)
        for codec, size in track(cases, description=f"{arguments.context} tokens")
    ]
    publish("chunk_tokens", rows, [], arguments.json)


def _arguments() -> argparse.Namespace:
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--model", help="hub id or directory; the demo model where absent")
    options.add_argument("--context", type=int, default=2048)
    options.add_argument("--sizes", type=int, nargs="+", default=[16, 32, 64, 128, 256])
    options.add_argument("--codecs", default="lossless,int8")
    options.add_argument("--samples", type=int, default=7, help="context lengths tried per size")
    options.add_argument("--dtype", default="auto", choices=["auto", "bfloat16", "float16", "float32"])
    arguments = options.parse_args()
    if arguments.quick:
        arguments.context, arguments.sizes, arguments.samples = 512, [32, 128], 3
    return arguments


def _row(
    model: Any, text: torch.Tensor, kv: KVArray, codec: str, size: int, context: int, samples: int
) -> dict[str, Any]:
    """TTFT and bytes of one codec at one chunk size."""
    store = KVStore([MemoryTier(_MEMORY_BYTES)], codec_from(codec), chunk_tokens=size)
    store.save(store.identity(kv.spec), text[0, : kv.num_tokens].tolist(), kv)
    stored_bytes = sum(entry.size_bytes for entry in store.tier.entries())
    stored_tokens = kv.num_tokens // size * size
    with CachedModel(model, store) as cached:
        ends = [context + (2 * sample + 1) * size // (2 * samples) for sample in range(samples)]
        unaligned = _first_token_s(cached, text, ends)
        aligned = _first_token_s(cached, text, [context // size * size] * samples)
    store.close()
    return {
        "codec": codec,
        "chunk_tokens": size,
        "context": context,
        "bytes_per_token": stored_bytes / stored_tokens,
        "aligned_s": aligned,
        "unaligned_s": unaligned,
        "partial_chunk_could_save_s": unaligned - aligned,
    }


def _first_token_s(cached: CachedModel, text: torch.Tensor, context_ends: Sequence[int]) -> float:
    """Median over prompts that leave the stored text at each of `context_ends` for a question nobody stored."""
    places = random.sample(range(text.shape[1] // 2, text.shape[1] - _QUESTION_TOKENS), len(context_ends) + 1)
    questions = [text[:, place : place + _QUESTION_TOKENS] for place in places]
    warm_up, *prompts = (
        torch.cat([text[:, :end], question], dim=1)
        for end, question in zip([context_ends[0], *context_ends], questions, strict=True)
    )
    ttft.first_token_s(cached, warm_up)
    return statistics.median(ttft.first_token_s(cached, prompt) for prompt in prompts)


if __name__ == "__main__":
    main()
