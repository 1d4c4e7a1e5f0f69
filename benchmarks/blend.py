"""What does blending passages save, and what does it do to answers?

Questions behind some of their MuSiQue passages, which were computed alone, or behind a few other tokens, and stored.
For each selector and each share of reused tokens that is recomputed: the first token against computing the prompt
in full, in the same run; KL and top-1 along the full prompt's greedy answer; whether the greedy answer is the same;
F1 of both against the right answers. The floor is an exact prefix in place, the question computed.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from benchmarks.report import Check, at_least, at_most, parser, publish
from blend import SELECTORS, LossWeighted, Selector, Shares
from connectors.codec_choice import choose_codec, profile_at_hand
from connectors.hf import spec_of
from connectors.hf.blend_quality import AskedPrompt, asked_prompts, compare, num_steps
from connectors.hf.blending import Blender, Blending, sink_of
from connectors.hf.models import demo_model_dir, dtype_named, load_model
from connectors.settings import profile_directory
from kvstore import InvalidRequest, KVStore, MemoryTier

_SELECTORS = ("random", "first", "hkvd-k", "hkvd-v", "hkvd", LossWeighted.id)
_SOONER, _KL = (2.5, 4.0), (0.07, 0.02)


def main() -> None:
    arguments = _arguments()
    model, tokenizer = load_model(arguments.model or demo_model_dir(), dtype_named(arguments.dtype))
    rows: list[dict[str, Any]] = []
    with Progress() as progress:
        for number in arguments.passages:
            prompts = asked_prompts(tokenizer, arguments.corpus, number)[arguments.skip :][: arguments.prompts]
            rows += _rows(model, tokenizer, arguments, number, prompts, progress)
    publish("blend", rows, _checks(rows), arguments.json)


def _arguments() -> argparse.Namespace:
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--corpus", type=Path, required=True, help="MuSiQue .json with passages")
    options.add_argument("--model", help="directory; the demo model where absent")
    options.add_argument("--dtype", default="auto")
    options.add_argument("--codec", default="lossless")
    options.add_argument("--passages", type=_numbers(int), default=[4, 10], help="in a prompt, one table for each")
    options.add_argument("--prompts", type=int, default=12, help="for each")
    options.add_argument("--skip", type=int, default=0, help="questions at the beginning of the corpus to leave out")
    options.add_argument("--selectors", type=lambda text: text.split(","), default=list(_SELECTORS))
    options.add_argument("--shares", type=_numbers(float), default=[0.05, 0.1, 0.15, 0.3])
    options.add_argument("--behind", default="sink", help="what stands before a segment: nothing, sink, or a text")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.passages, arguments.prompts, arguments.shares = [2], 1, [0.15]
        arguments.selectors = ["random", "hkvd"]
    return arguments


def _numbers(kind: type) -> Any:
    return lambda text: [kind(part) for part in text.split(",")]


def _rows(
    model: Any,
    tokenizer: Any,
    arguments: argparse.Namespace,
    passages: int,
    prompts: Sequence[AskedPrompt],
    progress: Progress,
) -> list[dict[str, Any]]:
    spec, behind = spec_of(model), _behind(tokenizer, arguments.behind)
    codec = choose_codec(arguments.codec, "balanced", None, profile_directory(), spec, MemoryTier(1 << 20))
    ways = [("none", 0.0), *((name, share) for name in arguments.selectors for share in arguments.shares)]
    with KVStore([MemoryTier(16 << 30)], codec) as store:
        identity = store.identity(spec)

        def blender(name: str, share: float) -> Blender:
            selector = _selector(name, spec)
            return Blender(model, store, identity, Blending(Shares(share, share), selector, behind))

        task = progress.add_task(f"{passages} passages", total=num_steps(prompts, len(ways)))
        blenders = {(name, share): (share, blender(name, share)) for name, share in ways}
        found = compare(model, tokenizer, blenders, prompts, lambda doing: progress.advance(task))
    tokens = statistics.median(len(asked.layout.token_ids) for asked in prompts)
    own = {"corpus": f"{passages} passages", "tokens": tokens, "behind": arguments.behind, "codec": codec.id}
    return [
        {**own, "selector": name, **asdict(point), "full_f1": found.full_f1, "full_s": found.full_s}
        for (name, _), point in found.measured.items()
    ]


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


def _checks(rows: Sequence[dict[str, Any]]) -> list[Check]:
    four = [row for row in rows if row["corpus"] == "4 passages"]
    good = [row for row in four if row["kl"] <= _KL[0]]
    if not four:
        return []
    best = max(good, key=lambda row: row["sooner"]) if good else min(four, key=lambda row: row["kl"])
    return [
        at_least("4 passages: times sooner", best["sooner"], *_SOONER),
        at_most("4 passages: KL", best["kl"], *_KL),
    ]


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
