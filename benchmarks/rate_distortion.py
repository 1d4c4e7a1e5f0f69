"""How many bits per element does a codec need, and what does its loss do to the model's predictions?

Per text of a corpus: the KV of the first `context` tokens is computed in full precision, rounded to
bfloat16 as an engine keeps it, encoded into frames of 128 tokens and decoded; then the next
`continuation` tokens are scored on top of it. KL (nats) and top-1 compare the next-token distributions
with those on top of the unrounded KV, as perplexity does; so the row `lossless` shows what bfloat16
does alone. Bits count every byte of the frames.

The first `exact_sinks` tokens are scored with their exact KV in every row: attention sinks, whose loss
would hide everything else. Their bytes are not added: 16 bits for each would be 0.06 per element at 4
of 1,024 tokens.

`transform` is measured with every `--profile`, at its levels and at steps between and beyond them, and its
progressive frames as they are read: whole, to `balanced`, and to `small`. A
profile does not say which texts it was calibrated on: `--skip` as many of a corpus as went into it, or
the numbers flatter. Each `--corpus` has its tables, a panel in the picture and its checks.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from benchmarks.codecs import Reading, profiles_from, progressive_readings, qualities_of, readings_named
from benchmarks.rate_curve import Curve, bits_at, draw, times_fewer_bytes
from benchmarks.report import Check, at_least, at_most, parser, publish
from codec import KVSpec, Profile, Transform
from codec.transform import PROGRESSIVE
from connectors.hf import spec_of, ttft
from connectors.hf.corpora import read_corpus, windows
from connectors.hf.models import demo_model_dir, fast_dtype, load_model
from connectors.hf.scoring import Distortion, cache_of, distortion, kv_of, logits_behind, through_frames
from kvstore import InvalidRequest

_CHUNK_TOKENS = 128
_CODECS = "lossless,int8,int4,cachegen:level=high,cachegen:level=medium,cachegen:level=low"
_BFLOAT16_BITS = 16
_BASELINE = "cachegen"


@dataclass(frozen=True)
class _Bar:
    """At a KL: the most bits per element, how many times fewer bytes than CacheGen, and the same aimed at."""

    kl: float
    bits: float
    on_questions: float
    """On MuSiQue-like corpora (`.json`), the kind of text the transform was conceived on."""
    elsewhere: float
    aim: float


_BARS = (
    _Bar(kl=0.01, bits=1.9, on_questions=2.3, elsewhere=2.0, aim=3.0),
    _Bar(kl=0.04, bits=1.0, on_questions=3.5, elsewhere=2.5, aim=5.0),
)


def main() -> None:
    arguments = _arguments()
    profiles = profiles_from(arguments.profile)
    names = arguments.codecs.split(",") if arguments.codecs else _default_codecs(profiles)
    codecs = readings_named(names, profiles)
    model, tokenizer = load_model(arguments.model or demo_model_dir(), getattr(torch, arguments.dtype))
    spec = replace(spec_of(model, revision="benchmark"), dtype="bfloat16")
    rows: list[dict[str, Any]] = []
    panels: dict[str, dict[str, Curve]] = {}
    checks: list[Check] = []
    for corpus in arguments.corpus:
        measured = _rows_of_corpus(model, tokenizer, spec, corpus, codecs, arguments)
        panels[corpus.name] = curves = _curves(measured)
        rows += [*measured, *_at_equal_kl(corpus.name, curves, spec)]
        checks += _checks(corpus, curves)
    publish("rate_distortion", rows, checks, arguments.json)
    if arguments.png is not None:
        draw(panels, spec.model, arguments.png)


def _default_codecs(profiles: Mapping[str, Profile]) -> list[str]:
    qualities = [quality for profile in profiles.values() for quality in qualities_of(profile)]
    return [*_CODECS.split(","), *dict.fromkeys(qualities), *(progressive_readings() if profiles else [])]


def _arguments() -> argparse.Namespace:
    options = parser(__doc__.split("\n")[0])
    shipped = Path(__file__).parents[1] / "connectors" / "hf" / "documents" / "founding_documents.txt"
    options.add_argument("--model", help="hub id or directory; the demo model where absent")
    options.add_argument("--corpus", type=Path, action="append", default=[], help=".json, .jsonl or text; repeatable")
    options.add_argument(
        "--skip", type=int, default=0, help="texts at each corpus' beginning to leave out: those a profile has seen"
    )
    options.add_argument("--profile", type=Path, action="append", default=[], help="of transform; repeatable")
    options.add_argument(
        "--codecs",
        help=f"name[:parameter=value...], comma-separated; {_CODECS} and every profile's qualities if absent",
    )
    options.add_argument("--context", type=int, default=1024)
    options.add_argument("--continuation", type=int, default=256)
    options.add_argument("--prompts", type=int, default=8)
    options.add_argument("--exact-sinks", type=int, default=4, help="first tokens that are scored exactly")
    options.add_argument("--dtype", default=str(fast_dtype()).removeprefix("torch."), help="of the arithmetic")
    options.add_argument("--png", type=Path, metavar="FILE", help="draw the curves there")
    arguments = options.parse_args()
    arguments.corpus = arguments.corpus or [shipped]
    if arguments.quick:
        arguments.prompts, arguments.context, arguments.continuation = 2, 512, 128
    return arguments


def _rows_of_corpus(
    model: Any,
    tokenizer: Any,
    spec: KVSpec,
    corpus: Path,
    codecs: Mapping[str, Reading],
    arguments: argparse.Namespace,
) -> list[dict[str, Any]]:
    """One row per codec. Raises InvalidRequest when no text is long enough."""
    texts = [passages.text for passages in read_corpus(corpus)][arguments.skip :]
    every = windows(tokenizer, texts, arguments.context + arguments.continuation + 1)
    chosen = list(islice(every, arguments.prompts))
    if not chosen:
        raise InvalidRequest(f"{corpus} has no text of {arguments.context + arguments.continuation + 1} tokens left")
    samples: dict[str, list[tuple[int, Distortion]]] = defaultdict(list)
    for window in track(chosen, description=f"{corpus.name}, {arguments.context} tokens"):
        measured = _measure(model, spec, window, codecs, arguments.context, arguments.exact_sinks)
        for name, sample in measured.items():
            samples[name].append(sample)
    return [{"corpus": corpus.name, **_row(name, spec, arguments, measured)} for name, measured in samples.items()]


def _measure(
    model: Any, spec: KVSpec, window: torch.Tensor, codecs: Mapping[str, Reading], context: int, exact_sinks: int
) -> dict[str, tuple[int, Distortion]]:
    """Per codec the bytes of one text's frames, and what their loss does to the predictions behind them."""
    computed = ttft.computed_context(model, window[:, :context])
    behind, followed_by = window[:, context:-1], window[0, context + 1 :]
    exact = logits_behind(model, behind, computed)
    kv = kv_of(spec, computed)
    measured = {}
    for name, reading in codecs.items():
        num_bytes, decoded = through_frames(reading.codec, kv, _CHUNK_TOKENS, reading.quality)
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
    """The levels of each family of codecs, a family being what has one name; progressive frames are one more."""
    curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        family = row["codec"].partition(":")[0] + (f" {PROGRESSIVE}" if PROGRESSIVE in row["codec"] else "")
        curves[family].append((row["kl"], row["bits"]))
    return dict(curves)


def _at_equal_kl(corpus: str, curves: Mapping[str, Curve], spec: KVSpec) -> list[dict[str, Any]]:
    """What each family costs at the bars' KLs, and how many times that every other family costs."""
    rows = []
    for bar in _BARS:
        bits = {family: bits_at(bar.kl, curve) for family, curve in curves.items()}
        for family, own in bits.items():
            fewer = {f"x_fewer_than_{other}": each / own if each and own else None for other, each in bits.items()}
            bytes_per_token = own * _elements(spec) / 8 if own else None
            row = {"corpus": corpus, "at_kl": bar.kl, "family": family, "bits": own}
            rows.append({**row, "bytes_per_token": bytes_per_token, **fewer})
    return rows


def _checks(corpus: Path, curves: Mapping[str, Curve]) -> list[Check]:
    """Of every `transform` there is; against CacheGen's finest level where none of its levels is that good."""
    checks = []
    for family in (family for family in curves if family.partition("@")[0] == Transform.id):
        for bar in _BARS:
            at = f"at KL {bar.kl}, {corpus.name}"
            bits = bits_at(bar.kl, curves[family])
            checks.append(at_most(f"{family}: bits {at}", math.nan if bits is None else bits, bar.bits))
            if _BASELINE in curves:
                fewer = times_fewer_bytes(bar.kl, curves[family], curves[_BASELINE])
                must = bar.on_questions if corpus.suffix == ".json" else bar.elsewhere
                checks.append(at_least(f"{family}: x fewer bytes than {_BASELINE} {at}", fewer, must, bar.aim))
    return checks


if __name__ == "__main__":
    main()
