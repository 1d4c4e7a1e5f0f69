"""What does a store on other machines cost, what does it bring, and what when it fails?

Against true servers that this starts on this host, Redis and, where it is installed, SeaweedFS (S3):

* values of 256 KiB, 1 MiB and 4 MiB, put and got by 1 client and by 8, beside the bare client library in the same run
  (`benchmarks.remote_speed`). `store` is what talks to the server, and held against the bare library, which does the
  same and no more; `tier` is what an engine asks: it checks what comes, and gets ahead what follows;
* how long it takes to learn which of 32 chunks are there, and in how many round trips;
* Redis: how much later a request's first token comes under each fault than without a remote tier
  (`benchmarks.remote_faults`);
* Redis: coded frames over a link of 1 Gbit/s beside raw KV, and beside computing it (`benchmarks.remote_link`).
  `transform` needs the model's own profile, which `--calibrate` makes where there is none.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.remote_faults import DEADLINE_S, SLACK_S, Prompts, fault_costs
from benchmarks.remote_link import RAW, Context, over_link
from benchmarks.remote_servers import RedisServer, SeaweedFS
from benchmarks.remote_speed import Server, look_ups, speeds
from benchmarks.report import Check, at_least, at_most, parser, publish
from codec import Codec, Int8, Lossless, Transform, register
from connectors.hf import spec_of, ttft
from connectors.hf.default_profile import default_profile, make_default_profile
from connectors.hf.models import demo_model_dir, load_model
from connectors.hf.prompts import shipped_document
from connectors.hf.scoring import kv_of
from connectors.settings import profile_directory

_KIB, _MIB = 1 << 10, 1 << 20
_SPEED_BAR, _RATIO_BAR, _GBIT_S = 0.85, 0.9, 1.0
_HALF = 0.5  # of a round trip


@dataclass(frozen=True)
class Size:
    """How much is done."""

    value_bytes: tuple[int, ...]
    moved_bytes: int
    """By every client library and ours, each turn."""
    num_rounds: int
    num_matches: int
    prompt_tokens: int
    """Of the prompts that are asked for under faults."""
    num_times: int
    """That each fault comes."""
    num_requests: int
    """Each time."""
    apart_s: float
    context_tokens: int
    """Of the prompt that comes over the slow link."""
    link_rounds: int


FULL = Size((256 * _KIB, _MIB, 4 * _MIB), 32 * _MIB, 7, 200, 512, 10, 8, 0.15, 1024, 5)
QUICK = Size((_MIB,), 16 * _MIB, 3, 20, 256, 1, 3, 0.05, 256, 1)
PARTS = ("speed", "faults", "link")


def main() -> None:
    arguments = _arguments()
    size, parts = QUICK if arguments.quick else FULL, arguments.parts.split(",")
    if not RedisServer.installed():
        raise SystemExit("redis-server is not installed: apt install redis-server")
    rows: list[dict[str, Any]] = []
    checks: list[Check] = []
    with tempfile.TemporaryDirectory(prefix="kvstore-remote-") as name, ExitStack() as opened:
        redis = opened.enter_context(RedisServer(Path(name) / "redis"))
        if "speed" in parts:
            servers: list[Server] = [redis]
            if SeaweedFS.installed():
                servers.append(opened.enter_context(SeaweedFS(Path(name) / "seaweedfs")))
            for server in servers:
                of_server, more_checks = _speed(server, size)
                rows, checks = [*rows, *of_server], [*checks, *more_checks]
        if {"faults", "link"} & set(parts):
            model, tokenizer = load_model(arguments.model or demo_model_dir(), torch.float32)
            text = torch.tensor([tokenizer(shipped_document()).input_ids])
            ttft.first_token_s(model, text[:, :64])
        if "faults" in parts:
            logging.disable(logging.WARNING)  # every fault is warned of
            of_faults = fault_costs(redis, _prompts(model, text, size), size.num_times, size.num_requests, size.apart_s)
            rows, checks = [*rows, *of_faults], [*checks, *_fault_checks(of_faults)]
        if "link" in parts:
            codecs = _codecs(model, tokenizer, arguments.calibrate)
            context = Context(model, text[:, : size.context_tokens + 16])
            of_link = over_link(redis, context, codecs, _GBIT_S, size.link_rounds)
            rows, checks = [*rows, *of_link], [*checks, *_link_checks(of_link)]
    publish("remote", rows, checks, arguments.json)


def _arguments() -> argparse.Namespace:
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--model", help="hub id or directory; the demo model where absent")
    options.add_argument("--parts", default=",".join(PARTS), help="what is measured")
    options.add_argument("--calibrate", action="store_true", help="make the model's profile if there is none")
    return options.parse_args()


def _speed(server: Server, size: Size) -> tuple[list[dict[str, Any]], list[Check]]:
    rows = speeds(server, size.value_bytes, (1, 8), size.moved_bytes, size.num_rounds)
    look_up = look_ups(server, size.num_matches)
    checks = [
        at_least(
            f"{server.name}: {row['verb']} of {row['kib']} KiB, {row['clients']} clients", row["of_bare"], _SPEED_BAR
        )
        for row in rows
        if row["way"] == "store"
    ]
    round_trips = at_most(f"{server.name}: round trips of a look-up", look_up["round_trips"], 1 + _HALF)
    return [*rows, look_up], [*checks, round_trips]


def _prompts(model: Any, text: torch.Tensor, size: Size) -> Prompts:
    """Three, cut from a text one behind the other, and what prefills of that model take."""
    spec = replace(spec_of(model, "benchmark"), dtype="bfloat16")
    starts = range(0, 3 * size.prompt_tokens, size.prompt_tokens)
    parts = [text[:, start : start + size.prompt_tokens] for start in starts]
    kv = [kv_of(spec, ttft.computed_context(model, part)) for part in parts]
    lengths = (size.prompt_tokens // 2, size.prompt_tokens)
    prefill_s = {
        length: statistics.median(ttft.first_token_s(model, part[:, :length]) for part in parts) for length in lengths
    }
    return Prompts(spec, [[*part[0].tolist(), 0] for part in parts], kv, prefill_s)


def _fault_checks(rows: Sequence[Mapping[str, Any]]) -> list[Check]:
    bar_ms = 1e3 * (DEADLINE_S + SLACK_S)
    return [
        *(at_most(f"{row['fault']}: ms that a first token is later, p99", row["later_p99_ms"], bar_ms) for row in rows),
        at_most("wrong answers under all faults", sum(row["wrong"] for row in rows), 0),
    ]


def _codecs(model: Any, tokenizer: Any, calibrate: bool) -> dict[str, Codec]:
    """Those that can be had."""
    profile = default_profile(model, profile_directory())
    if profile is None and calibrate:
        profile = make_default_profile(model, tokenizer, profile_directory(), lambda what: print(what, flush=True))
    codecs: dict[str, Codec] = {"lossless": Lossless(), "int8": Int8()}
    return codecs if profile is None else {**codecs, "transform": Transform(register(profile), "balanced")}


def _link_checks(rows: Sequence[Mapping[str, Any]]) -> list[Check]:
    coded = [row for row in rows if row["codec"] != RAW]
    return [
        check
        for row in coded
        for check in (
            at_least(
                f"{row['codec']}: fetched sooner than raw, of how much smaller",
                row["fetch_x"] / row["smaller_x"],
                _RATIO_BAR,
            ),
            at_least(f"{row['codec']}: first token sooner than computed, times", row["of_computed_x"], 1.0),
        )
    ]


if __name__ == "__main__":
    main()
