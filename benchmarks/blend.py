"""What does blending passages save, and what does it do to answers?

Questions behind some of their MuSiQue passages, which were computed alone, or behind a few other tokens, and stored.
For each selector and each share of reused tokens that is recomputed: the first token against computing the prompt
in full, in the same run; KL and top-1 along the full prompt's greedy answer; whether the greedy answer is the same;
F1 of both against the right answers. The floor is an exact prefix in place, the question computed.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from benchmarks.blend_picture import draw
from benchmarks.rag_requests import measure, requests
from benchmarks.report import Check, at_least, at_most, parser, publish
from blend import SELECTORS, LossWeighted, Selector
from blend.gate import Measured
from codec import Codec, KVSpec
from connectors.codec_choice import choose_codec, profile_at_hand
from connectors.hf import spec_of
from connectors.hf.blend_quality import (
    AskedPrompt,
    InFull,
    asked_prompts,
    averaged,
    compare,
    num_steps,
    reordered,
)
from connectors.hf.blending import DEFAULT_SELECTOR, Blender, Blending, sink_of
from connectors.hf.corpora import passages_of
from connectors.hf.models import demo_model_dir, dtype_named, load_model
from connectors.hf.prefix import load_prefix
from connectors.hf.prompts import passages_of_text, shipped_document
from connectors.settings import profile_directory
from kvstore import InvalidRequest, KVStore, MemoryTier

_SELECTORS = ("random", "first", "hkvd-k", "hkvd-v", "hkvd", LossWeighted.id)
_SOONER, _KL, _TIMES = (2.5, 4.0), (0.07, 0.02), 2.8
_SEEN = 0.8  # of a request's passages
_FLOOR_PROMPTS = 3
_SHIPPED_TOKENS = 300


def main() -> None:
    arguments = _arguments()
    model, tokenizer = load_model(arguments.model or demo_model_dir(), dtype_named(arguments.dtype))
    rows: list[dict[str, Any]] = []
    run: list[dict[str, Any]] = []
    with Progress() as progress:
        for number, num_prompts in zip(arguments.passages, arguments.prompts, strict=True):
            prompts = _prompts(tokenizer, arguments, number, num_prompts)
            rows += _rows(model, tokenizer, arguments, number, prompts, progress)
        if arguments.requests and arguments.corpus:
            run = [_run(model, tokenizer, arguments, progress)]
    if arguments.png is not None:
        draw(rows, arguments.png)
    publish("blend", [*rows, *run], _checks(rows, run), arguments.json)


def _arguments() -> argparse.Namespace:
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--corpus", type=Path, help="MuSiQue .json with passages; the shipped text where absent")
    options.add_argument("--model", help="directory; the demo model where absent")
    options.add_argument("--dtype", default="auto")
    options.add_argument("--codec", default="lossless")
    options.add_argument("--passages", type=_numbers(int), default=[4, 10], help="in a prompt, a table for each")
    options.add_argument("--prompts", type=_numbers(int), default=[12, 4], help="for each")
    options.add_argument("--skip", type=int, default=0, help="questions at the beginning of the corpus to leave out")
    options.add_argument("--selectors", type=lambda text: text.split(","), default=list(_SELECTORS))
    options.add_argument("--shares", type=_numbers(float), default=[0.1, 0.2, 0.3])
    options.add_argument("--behind", default="sink", help="what stands before a segment: nothing, sink, or a text")
    options.add_argument("--requests", type=int, default=100, help="of the run with passages seen before; 0: none")
    options.add_argument("--request-share", type=float, default=0.1, help="recomputed in that run")
    options.add_argument("--learns", action="store_true", help="passages that are new in that run")
    options.add_argument("--png", type=Path, help="draw quality against speed there")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.passages, arguments.prompts, arguments.shares, arguments.requests = [2], [1], [0.15], 0
        arguments.selectors = ["random", DEFAULT_SELECTOR.id]
    return arguments


def _numbers(kind: type) -> Any:
    return lambda text: [kind(part) for part in text.split(",") if part]


def _prompts(tokenizer: Any, arguments: argparse.Namespace, num_passages: int, num_prompts: int) -> list[AskedPrompt]:
    if arguments.corpus is not None:
        return asked_prompts(tokenizer, arguments.corpus, num_passages)[arguments.skip :][:num_prompts]
    passages = passages_of_text(tokenizer, shipped_document(), num_passages, _SHIPPED_TOKENS)
    return reordered(tokenizer, passages, ["Which powers does the text name?"] * num_prompts)


def _rows(
    model: Any,
    tokenizer: Any,
    arguments: argparse.Namespace,
    passages: int,
    prompts: Sequence[AskedPrompt],
    progress: Progress,
) -> list[dict[str, Any]]:
    spec, behind = spec_of(model), _behind(tokenizer, arguments.behind)
    codec = _codec(arguments, spec)
    ways = [("none", 0.0), *((name, share) for name in arguments.selectors for share in arguments.shares)]
    with KVStore([MemoryTier(16 << 30)], codec) as store:
        blender = Blender(model, store, store.identity(spec), Blending(0.0, behind=behind))

        def in_way(name: str, share: float) -> Blender:
            return blender.in_way(Blending(share, share, _selector(name, spec), behind))

        task = progress.add_task(f"{passages} passages", total=num_steps(prompts, len(ways)))
        blenders = {(name, share): (share, in_way(name, share)) for name, share in ways}
        found = compare(model, tokenizer, blenders, prompts, lambda doing: progress.advance(task))
    tokens = statistics.median(len(asked.layout.token_ids) for asked in prompts)
    own = {"corpus": f"{passages} passages", "tokens": tokens, "behind": arguments.behind, "codec": codec.id}
    beside = {"full_f1": found.full_f1, "full_s": found.full_s}
    points = [("prefix of the same tokens", _floor(model, tokenizer, codec, prompts[:_FLOOR_PROMPTS]))]
    points += [(name, point) for (name, _), point in found.measured.items()]
    return [{**own, "selector": name, **asdict(point), **beside} for name, point in points]


def _floor(model: Any, tokenizer: Any, codec: Codec, prompts: Sequence[AskedPrompt]) -> Measured:
    """The same prompts when all of their tokens but the last are held as a prefix: what loading them takes."""
    points, spec = [], spec_of(model)
    for asked in prompts:
        full, token_ids = InFull(model, tokenizer, asked), asked.layout.token_ids
        with KVStore([MemoryTier(4 << 30)], codec, chunk_tokens=len(token_ids) - 1) as store:
            identity = store.identity(spec)
            store.save(identity, token_ids, full.kv(spec))
            matches = [store.match(identity, token_ids)]
            load = partial(load_prefix, model, store, spec, matches=matches)
            points.append(full.compared(load, 0.0))
    return averaged(points)


def _run(model: Any, tokenizer: Any, arguments: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    entries = json.loads(arguments.corpus.read_text())
    passages = [text for entry in entries for text in passages_of(entry)]
    asked = [entry["question"] for entry in entries]
    wanted = requests(tokenizer, passages, asked, arguments.requests, 4, _SEEN)
    codec = _codec(arguments, spec_of(model))
    task, share = progress.add_task("requests", total=2 * len(wanted.prompts)), arguments.request_share
    behind = _behind(tokenizer, arguments.behind)
    blending = Blending(share, share, behind=behind, checked=0.0, learns=arguments.learns)
    with KVStore([MemoryTier(16 << 30)], codec) as store:
        measured = measure(model, store, blending, wanted, lambda: progress.advance(task))
    return {"corpus": "requests in a row, 4 passages", "codec": codec.id, "share": share, **measured}


def _codec(arguments: argparse.Namespace, spec: KVSpec) -> Codec:
    return choose_codec(arguments.codec, "balanced", None, profile_directory(), spec, MemoryTier(1 << 20))


def _behind(tokenizer: Any, what: str) -> tuple[int, ...]:
    if what == "nothing":
        return ()
    begin = sink_of(tokenizer)
    return begin if what == "sink" else (*begin, *tokenizer(what, add_special_tokens=False).input_ids)


def _selector(name: str, spec: Any) -> Selector:
    if name == "none":
        return SELECTORS["random"]()
    if name != LossWeighted.id:
        return SELECTORS[name]()
    profile = profile_at_hand(profile_directory(), spec)
    if profile is None:
        raise InvalidRequest(f"{name} takes the model's profile: `kvstore calibrate` makes one")
    return LossWeighted(profile)


def _checks(rows: Sequence[dict[str, Any]], run: Sequence[dict[str, Any]]) -> list[Check]:
    four = [row for row in rows if row["corpus"] == "4 passages" and row["share"] > 0]
    checks = [at_least("times the requests a second", max(row["times"] for row in run), _TIMES)] if run else []
    if four:
        good = [row for row in four if row["kl"] <= _KL[0]]
        best = max(good, key=lambda row: row["sooner"]) if good else min(four, key=lambda row: row["kl"])
        checks.append(at_least("4 passages: times sooner", best["sooner"], *_SOONER))
        checks.append(at_most("4 passages: KL", best["kl"], *_KL))
    return checks


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
