"""From which bandwidth on is loading sooner than computing, and does the cost model know?

A prompt's frames lie in a throttled tier: a memory tier whose `get` sleeps for a latency and for the frame's
bytes at a bandwidth. Per bandwidth, seconds to the first token computing everything, loading everything, and
as the cost model decides once it has measured: with real frames, a real decode and a real prefill. Each
round runs the three after one another, so that a machine whose speed drifts drifts for all; medians count.

The bar: wherever the two ways differ by more than `_CLEAR`, the decision is the sooner one's, and with the
model nothing is slower than computing by more than `_MARGIN`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from rich.progress import Progress

from benchmarks.report import Check, at_least, at_most, parser, publish
from codec import Codec, Lossless, Transform, register
from connectors.hf import CachedModel, spec_of, ttft
from connectors.hf.default_profile import default_profile
from connectors.hf.models import demo_model_dir, load_model
from connectors.hf.prompts import shipped_document
from connectors.hf.scoring import kv_of
from connectors.settings import profile_directory
from kvstore import AlwaysLoad, ChunkKey, CostModel, KVStore, MemoryTier
from kvstore.cost import Held

_CAPACITY_BYTES = 8 << 30
_CLEAR, _MARGIN = 0.1, 0.05
_DECISIONS = 1000


class ThrottledTier(MemoryTier):
    """A tier behind a link of `bandwidth` bytes per second and `latency_s` for every frame."""

    name = "throttled"

    def __init__(self, bandwidth: float, latency_s: float) -> None:
        super().__init__(_CAPACITY_BYTES)
        self.bandwidth, self._latency_s = bandwidth, latency_s

    def get(self, key: ChunkKey) -> memoryview | None:
        frame = super().get(key)
        if frame is not None:
            time.sleep(self._latency_s + len(frame) / self.bandwidth)
        return frame


def main() -> None:
    arguments = _arguments()
    model, tokenizer = load_model(arguments.model or demo_model_dir(), torch.float32)
    text = torch.tensor([tokenizer(shipped_document()).input_ids])
    ttft.first_token_s(model, text[:, :64])
    lengths, codecs = arguments.contexts.split(","), _codecs(model, arguments.codecs.split(","))
    with Progress() as progress:
        task = progress.add_task("", total=len(lengths) * len(codecs) * len(arguments.megabytes.split(",")))
        rows = [
            row
            for length in map(int, lengths)
            for codec in codecs
            for row in _sweep(
                model, text[:, : length + arguments.tail], length, codec, arguments, partial(progress.update, task)
            )
        ]
    decisions = {"decisions": _DECISIONS, "chunks": 16, "microseconds": 1e6 * _decision_s(16)}
    publish("crossover", [*rows, decisions], _checks(rows), arguments.json)


def _arguments() -> argparse.Namespace:
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--model", help="hub id or directory; the demo model where absent")
    options.add_argument("--contexts", default="1024,2048", help="tokens held of each prompt")
    options.add_argument("--tail", type=int, default=16, help="tokens behind them")
    options.add_argument("--codecs", default="lossless,transform", help="transform needs the model's own profile")
    options.add_argument("--megabytes", default="3,10,30,100,300,1000", help="per second: the bandwidths")
    options.add_argument("--latency", type=float, default=0.002, help="seconds for each frame")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--learning", type=int, default=4, help="requests of each kind before anything counts")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.contexts, arguments.codecs, arguments.megabytes = "256", "lossless", "3,300"
        arguments.rounds, arguments.learning = 3, 3
    return arguments


def _codecs(model: Any, names: list[str]) -> list[Codec]:
    """Those of the names that can be had."""
    profile = default_profile(model, profile_directory())
    known: dict[str, Codec] = {Lossless.id: Lossless()}
    if profile is not None:
        known[Transform.id] = Transform(register(profile), "balanced")
    return [known[name] for name in names if name in known]


def _sweep(
    model: Any,
    prompt: torch.Tensor,
    length: int,
    codec: Codec,
    arguments: argparse.Namespace,
    report: Callable[..., None],
) -> list[dict[str, Any]]:
    """Rows of one prompt and codec, from the slowest link to the fastest."""
    spec, kv = spec_of(model, "benchmark"), None
    rows = []
    for megabytes in arguments.megabytes.split(","):
        report(advance=1, description=f"{length} tokens, {codec.id}, {megabytes} MB/s")
        bandwidth = 1e6 * float(megabytes)
        stores = {
            "load_s": KVStore([ThrottledTier(bandwidth, arguments.latency)], codec, cost=AlwaysLoad()),
            "model_s": KVStore([ThrottledTier(bandwidth, arguments.latency)], codec, cost=CostModel()),
        }
        for store in stores.values():
            kv = kv or kv_of(spec, ttft.computed_context(model, prompt[:, :length]))
            store.save(store.identity(spec), prompt[0, :length].tolist(), kv)
        rows.append(
            {"codec": codec.id, "context": length, "megabytes_per_s": float(megabytes)}
            | _row(model, stores, prompt, arguments)
        )
    return rows


def _row(model: Any, stores: dict[str, KVStore], prompt: torch.Tensor, arguments: argparse.Namespace) -> dict[str, Any]:
    """Medians over the rounds, and how much of what was held the cost model had loaded."""
    wrapped = {name: CachedModel(model, store, revision="benchmark") for name, store in stores.items()}
    ways = {"compute_s": model, **wrapped}
    _learn(wrapped["model_s"], prompt, arguments.learning)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    before = stores["model_s"].metrics.snapshot()
    for round_ in range(arguments.rounds):
        order = list(ways) if round_ % 2 else list(ways)[::-1]
        for name in order:
            seconds[name].append(ttft.first_token_s(ways[name], prompt))
    after = stores["model_s"].metrics.snapshot()
    loaded, left = (after[name] - before[name] for name in ("tokens_loaded", "tokens_not_loaded"))
    for cached in wrapped.values():
        cached.close()
    for store in stores.values():
        store.close()
    ratio = statistics.median(
        ours / computed for ours, computed in zip(seconds["model_s"], seconds["compute_s"], strict=True)
    )
    return {
        **{name: statistics.median(taken) for name, taken in seconds.items()},
        "model_to_compute": ratio,
        "loaded": loaded / (loaded + left),
    }


def _learn(cached: CachedModel, prompt: torch.Tensor, requests: int) -> None:
    """Prompts that are held, and others that are not, so that both ways are measured."""
    for request in range(requests):
        ttft.first_token_s(cached, prompt)
        ttft.first_token_s(cached, torch.roll(prompt, request + 1, dims=1))  # its first chunk is not held
        cached.flush()


def _decision_s(num_chunks: int) -> float:
    """Seconds for one plan of that many chunks, everything measured."""
    cost = CostModel()
    for _ in range(3):
        cost.got("disk", 1 << 20, 0.001)
        cost.decoded("model", "lossless", 128, 0.01)
        cost.computed("model", 2048, 0, 2.0)
    held = [Held("disk", {"lossless": 1 << 20})] * num_chunks
    started = time.perf_counter()
    for _ in range(_DECISIONS):
        cost.plan("model", held, 128, 128 * num_chunks + 16, ["lossless"])
    return (time.perf_counter() - started) / _DECISIONS


def _checks(rows: list[dict[str, Any]]) -> list[Check]:
    clear = [row for row in rows if abs(row["load_s"] / row["compute_s"] - 1) > _CLEAR]
    right = [row["loaded"] > 0.5 if row["load_s"] < row["compute_s"] else row["loaded"] < 0.5 for row in clear]
    sides = {row["load_s"] < row["compute_s"] for row in clear}
    return [
        at_least("share of clear cases decided for the sooner way", statistics.mean(right) if right else 0.0, 1.0),
        at_least("sides of the crossover seen", float(len(sides)), 2.0),
        at_most("slower than computing, at worst", max(row["model_to_compute"] for row in rows) - 1, _MARGIN),
    ]


if __name__ == "__main__":
    main()
