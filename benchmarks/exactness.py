"""Is what comes back what was computed, and what does it do to the answer?

Per codec, over the prompts of a corpus: is the loaded KV bit for bit the computed one, are the greedy
tokens those of a prefix kept in the process (context and question computed in the same two steps), and
how far is the next-token distribution, over question and answer, from a single pass over everything
(KL in nats, top-1)? The row `in-process` is that last comparison without any store: the distance that
two steps alone make.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from transformers import DynamicCache

from benchmarks.report import Check, at_least, at_most, parser, publish
from codec import KVArray, codec_from
from connectors.hf import spec_of, ttft
from connectors.hf.corpora import Passages, read_corpus
from connectors.hf.models import demo_model_dir, fast_dtype, load_model
from connectors.hf.prompts import SharedContext, shared_context
from connectors.hf.scoring import cache_of, log_probabilities
from kvstore import DiskTier, KVStore

_DISK_BYTES = 16 << 30
_KL_BAR = 1e-3


def main() -> None:
    arguments = _arguments()
    dtype = fast_dtype() if arguments.dtype == "auto" else getattr(torch, arguments.dtype)
    model, tokenizer = load_model(arguments.model or demo_model_dir(), dtype)
    corpus = read_corpus(arguments.corpus)[: arguments.prompts]
    codecs = arguments.codecs.split(",")
    samples: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for passages in track(corpus, description=f"{arguments.context} tokens, {dtype}"):
        context = _context(tokenizer, passages, arguments.context)
        for name, sample in _measure(model, context, codecs, arguments.new_tokens).items():
            samples[name].append(sample)
    rows = [_row(name, dtype, arguments, measured) for name, measured in samples.items()]
    publish("exactness", rows, _checks(rows), arguments.json)


def _arguments() -> argparse.Namespace:
    options = parser(__doc__.split("\n")[0])
    data = Path("../shared/data/rag/musique_100.json")
    shipped = Path(__file__).parents[1] / "connectors" / "hf" / "documents" / "founding_documents.txt"
    options.add_argument("--model", help="hub id or directory; the demo model where absent")
    options.add_argument(
        "--corpus", type=Path, default=data if data.exists() else shipped, help=".json, .jsonl or text"
    )
    options.add_argument("--prompts", type=int, default=20)
    options.add_argument("--context", type=int, default=512, help="tokens of each prompt's context")
    options.add_argument("--new-tokens", type=int, default=64)
    options.add_argument("--codecs", default="lossless,int8")
    options.add_argument("--dtype", default="auto", choices=["auto", "bfloat16", "float16", "float32"])
    arguments = options.parse_args()
    if arguments.quick:
        arguments.prompts, arguments.context, arguments.new_tokens = 2, 128, 12
    return arguments


def _context(tokenizer: Any, passages: Passages, num_tokens: int) -> SharedContext:
    return shared_context(tokenizer, passages.text, [passages.question], num_tokens)


def _measure(model: Any, context: SharedContext, codecs: Sequence[str], new_tokens: int) -> dict[str, dict[str, Any]]:
    """One prompt: what each codec's store gives back, against the process's own KV and a single pass."""
    (prompt,) = context.prompts()
    computed = ttft.computed_context(model, context.context)
    expected = ttft.reference_answer(model, computed, prompt, new_tokens)
    whole = torch.cat([prompt, torch.tensor([expected])], dim=1)
    behind = whole[:, context.num_tokens : -1]
    single_pass = log_probabilities(model, whole[:, :-1])[context.num_tokens :]
    two_steps = log_probabilities(model, behind, computed)
    samples = {"in-process": {"bits": True, "same": True, **_distance(single_pass, two_steps)}}
    for name in codecs:
        with tempfile.TemporaryDirectory(prefix="kvstore-exactness-") as path:
            store = KVStore([DiskTier(path, _DISK_BYTES)], codec_from(name))
            ttft.save_context(model, store, context.context)
            identity = store.identity(spec_of(model))
            loaded = store.load(store.match(identity, context.context[0].tolist()))
            store.close()
        assert loaded is not None
        cache = cache_of(model, loaded)
        tokens = ttft.reference_answer(model, cache, prompt, new_tokens)
        distance = _distance(single_pass, log_probabilities(model, behind, cache))
        samples[name] = {"bits": _equal(computed, loaded), "same": tokens == expected, **distance}
    return samples


def _distance(reference: torch.Tensor, other: torch.Tensor) -> dict[str, float]:
    kl = (reference.exp() * (reference - other)).sum(dim=-1)
    return {"kl": float(kl.mean()), "top1": float((reference.argmax(-1) == other.argmax(-1)).double().mean())}


def _equal(cache: DynamicCache, kv: KVArray) -> bool:
    return all(
        torch.equal(layer.keys[0], keys) and torch.equal(layer.values[0], values)
        for layer, keys, values in zip(cache.layers, kv.keys, kv.values, strict=True)
    )


def _row(
    name: str, dtype: torch.dtype, arguments: argparse.Namespace, samples: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "codec": name,
        "dtype": str(dtype).removeprefix("torch."),
        "context": arguments.context,
        "prompts": len(samples),
        "new_tokens": arguments.new_tokens,
        "kv_bit_equal": sum(sample["bits"] for sample in samples) / len(samples),
        "same_answer": sum(sample["same"] for sample in samples) / len(samples),
        "kl_to_single_pass": statistics.mean(sample["kl"] for sample in samples),
        "kl_worst_prompt": max(sample["kl"] for sample in samples),
        "top1_agreement": statistics.mean(sample["top1"] for sample in samples),
    }


def _checks(rows: Sequence[dict[str, Any]]) -> list[Check]:
    checks = []
    for row in rows:
        if row["codec"] == "lossless":
            checks.append(at_least("lossless: prompts whose KV is bit for bit equal", row["kv_bit_equal"], 1.0))
            checks.append(at_least("lossless: prompts with the same greedy tokens", row["same_answer"], 1.0))
            checks.append(at_most("lossless: KL to a single pass", row["kl_to_single_pass"], _KL_BAR))
    return checks


if __name__ == "__main__":
    main()
