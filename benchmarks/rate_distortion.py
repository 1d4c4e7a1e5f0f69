"""How many bits per element does a codec need, and what does its loss do to the model's predictions?

Per text of a corpus: the KV of the first `context` tokens is computed in full precision, rounded to
bfloat16 as an engine keeps it, encoded into frames of 128 tokens and decoded; then the next
`continuation` tokens are scored on top of it. KL (nats) and top-1 compare the next-token distributions
with those on top of the unrounded KV, as perplexity does; so the row `lossless` shows what bfloat16
does alone. Bits count every byte of the frames.

The first `exact_sinks` tokens are scored with their exact KV in every row: attention sinks, whose loss
would hide everything else. Their bytes are not added: 16 bits for each would be 0.06 per element at 4
of 1,024 tokens.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from benchmarks.rate_curve import Curve, bits_at, draw
from benchmarks.report import parser, publish
from codec import Codec, KVSpec, codec_from
from connectors.hf import spec_of, ttft
from connectors.hf.corpora import read_corpus, windows
from connectors.hf.models import demo_model_dir, fast_dtype, load_model
from connectors.hf.scoring import Distortion, cache_of, distortion, kv_of, logits_behind, through_frames

_CHUNK_TOKENS = 128
_CODECS = "lossless,int8,int4,cachegen:level=high,cachegen:level=medium,cachegen:level=low"
_EQUAL_KL = (0.01, 0.04)
_BFLOAT16_BITS = 16


def main() -> None:
    arguments = _arguments()
    codecs = {name: codec_named(name) for name in arguments.codecs.split(",")}
    model, tokenizer = load_model(arguments.model or demo_model_dir(), getattr(torch, arguments.dtype))
    spec = replace(spec_of(model, revision="benchmark"), dtype="bfloat16")
    texts = [passages.text for passages in read_corpus(arguments.corpus)][arguments.skip :]
    chosen = islice(windows(tokenizer, texts, arguments.context + arguments.continuation + 1), arguments.prompts)
    samples: dict[str, list[tuple[int, Distortion]]] = defaultdict(list)
    for window in track(list(chosen), description=f"{arguments.context} tokens"):
        measured = _measure(model, spec, window, codecs, arguments.context, arguments.exact_sinks)
        for name, sample in measured.items():
            samples[name].append(sample)
    rows = [_row(name, spec, arguments, measured) for name, measured in samples.items()]
    curves = _curves(rows)
    publish("rate_distortion", [*rows, *_at_equal_kl(curves, spec)], [], arguments.json)
    if arguments.png is not None:
        draw(curves, f"{spec.model}, {arguments.corpus.name}", arguments.png)


def codec_named(text: str) -> Codec:
    """The codec of `name` or `name:parameter=value:...`; values are JSON where they can be, text where not."""
    name, *settings = text.split(":")
    pairs = [setting.partition("=") for setting in settings]
    return codec_from(name, {parameter: _value(value) for parameter, _, value in pairs})


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _arguments() -> argparse.Namespace:
    options = parser(__doc__.split("\n")[0])
    shipped = Path(__file__).parents[1] / "connectors" / "hf" / "documents" / "founding_documents.txt"
    options.add_argument("--model", help="hub id or directory; the demo model where absent")
    options.add_argument("--corpus", type=Path, default=shipped, help=".json, .jsonl or text")
    options.add_argument("--skip", type=int, default=0, help="texts at the corpus' beginning to leave out")
    options.add_argument("--codecs", default=_CODECS, help="name[:parameter=value...], comma-separated")
    options.add_argument("--context", type=int, default=1024)
    options.add_argument("--continuation", type=int, default=256)
    options.add_argument("--prompts", type=int, default=8)
    options.add_argument("--exact-sinks", type=int, default=4, help="first tokens that are scored exactly")
    options.add_argument("--dtype", default=str(fast_dtype()).removeprefix("torch."), help="of the arithmetic")
    options.add_argument("--png", type=Path, metavar="FILE", help="draw the curves there")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.prompts, arguments.context, arguments.continuation = 2, 512, 128
    return arguments


def _measure(
    model: Any, spec: KVSpec, window: torch.Tensor, codecs: Mapping[str, Codec], context: int, exact_sinks: int
) -> dict[str, tuple[int, Distortion]]:
    """Per codec the bytes of one text's frames, and what their loss does to the predictions behind them."""
    computed = ttft.computed_context(model, window[:, :context])
    behind, followed_by = window[:, context:-1], window[0, context + 1 :]
    exact = logits_behind(model, behind, computed)
    kv = kv_of(spec, computed)
    measured = {}
    for name, codec in codecs.items():
        num_bytes, decoded = through_frames(codec, kv, _CHUNK_TOKENS)
        for back, original in zip((*decoded.keys, *decoded.values), (*kv.keys, *kv.values), strict=True):
            back[:, :exact_sinks] = original[:, :exact_sinks]
        other = logits_behind(model, behind, cache_of(model, decoded))
        measured[name] = num_bytes, distortion(exact, other, followed_by)
    return measured


def _row(
    name: str, spec: KVSpec, arguments: argparse.Namespace, samples: Sequence[tuple[int, Distortion]]
) -> dict[str, Any]:
    bits = 8 * statistics.mean(num_bytes for num_bytes, _ in samples) / (arguments.context * _elements(spec))
    distortions = [each for _, each in samples]
    nll_change = statistics.mean(each.other_nll - each.exact_nll for each in distortions)
    return {
        "codec": name,
        "texts": len(samples),
        "context": arguments.context,
        "continuation": arguments.continuation,
        "exact_sinks": arguments.exact_sinks,
        "bits": bits,
        "x_smaller_than_bf16": _BFLOAT16_BITS / bits,
        "kl": statistics.mean(each.kl for each in distortions),
        "kl_worst_text": max(each.kl for each in distortions),
        "top1": statistics.mean(each.top1 for each in distortions),
        "ppl_change_percent": 100 * math.expm1(nll_change),
    }


def _elements(spec: KVSpec) -> int:
    """Numbers per token."""
    return sum(group.kv_heads * (group.key_dim + group.value_dim) for group in spec.group_of)


def _curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    """The levels of each family of codecs, a family being what has one name."""
    curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        curves[row["codec"].partition(":")[0]].append((row["kl"], row["bits"]))
    return dict(curves)


def _at_equal_kl(curves: Mapping[str, Curve], spec: KVSpec) -> list[dict[str, Any]]:
    """What each family costs at the KLs of `_EQUAL_KL`, and how many times that every family costs."""
    rows = []
    for kl in _EQUAL_KL:
        bits = {family: bits_at(kl, curve) for family, curve in curves.items()}
        for family, own in bits.items():
            over = {f"{other}_over_it": each / own if each and own else None for other, each in bits.items()}
            bytes_per_token = own * _elements(spec) / 8 if own else None
            rows.append({"at_kl": kl, "family": family, "bits": own, "bytes_per_token": bytes_per_token, **over})
    return rows


if __name__ == "__main__":
    main()
