"""How fast does KV come out of frames in device memory, beside copying it there uncompressed?

KV of the shipped document in bfloat16, saved in chunks of 128 tokens, into a room on the GPU: `device`, frames
decoded where they lie; `memory`, frames in RAM, decoded by the CPU and copied over; and, the do-nothing baseline,
the KV itself copied from pinned memory. Without a CUDA device there is nothing to measure, and the table is empty.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.codecs import codecs_named, profiles_from
from benchmarks.report import parser, publish
from codec import Codec, KVArray, Transform
from connectors.hf import spec_of, ttft
from connectors.hf.default_profile import default_profile
from connectors.hf.models import demo_model_dir, fast_dtype, load_model
from connectors.hf.prompts import shipped_document
from connectors.hf.scoring import kv_of
from connectors.settings import profile_directory
from kvstore import DeviceTier, KVStore, MemoryTier, Tier

_BUDGET_BYTES = 8 << 30
_CODECS = ("lossless", "int8", "transform:quality=high", "transform", "transform:quality=small")


def measured(kv: KVArray, codecs: Mapping[str, Codec], device: torch.device, repeats: int) -> list[dict[str, Any]]:
    """Rows for KV on the CPU that is wanted on `device`."""
    copied_s = _copying(kv, device, repeats)
    rows = [_row("raw, pinned", "none", kv, kv.num_bytes, copied_s, copied_s)]
    for name, codec in codecs.items():
        for tier in (DeviceTier(_BUDGET_BYTES, device), MemoryTier(_BUDGET_BYTES)):
            seconds = _loading(tier, codec, kv, device, repeats)
            rows.append(_row(tier.name, name, kv, tier.size_bytes, seconds, copied_s))
    return rows


def _copying(kv: KVArray, device: torch.device, repeats: int) -> float:
    out, pins = KVArray.empty(kv.spec, kv.num_tokens, device), device.type == "cuda"
    rooms = (*out.keys, *out.values)
    here = [part.contiguous().pin_memory() if pins else part.contiguous() for part in (*kv.keys, *kv.values)]

    def copy() -> None:
        for room, part in zip(rooms, here, strict=True):
            room.copy_(part, non_blocking=True)

    return _seconds(copy, device, repeats)


def _loading(tier: Tier, codec: Codec, kv: KVArray, device: torch.device, repeats: int) -> float:
    out, token_ids = KVArray.empty(kv.spec, kv.num_tokens, device), list(range(kv.num_tokens))
    store = KVStore([tier], codec)
    store.save(store.identity(kv.spec), token_ids, kv)
    match = store.match(store.identity(kv.spec), token_ids)
    seconds = _seconds(lambda: store.load_into(match, out), device, repeats)
    assert store.metrics.snapshot()["chunks_corrupt"] == 0, "what was just saved is whole"
    return seconds * kv.num_tokens / match.num_tokens


def _row(held: str, codec: str, kv: KVArray, size_bytes: int, seconds: float, copied_s: float) -> dict[str, Any]:
    rate, bytes_per_token = kv.num_tokens / seconds, size_bytes / kv.num_tokens
    return {"held": held, "codec": codec, "tokens_s": rate, "bytes_token": bytes_per_token, "x_raw": copied_s / seconds}


def _seconds(run: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """The fastest of `repeats` runs, after one that warms up."""
    fastest, module = float("inf"), torch.get_device_module(device)
    for repeat in range(repeats + 1):
        module.synchronize()
        started_s = time.perf_counter()
        run()
        module.synchronize()
        fastest = min(fastest, time.perf_counter() - started_s) if repeat else fastest
    return fastest


def main() -> None:
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--model", default="", help="hub id or directory; the demo model where absent")
    options.add_argument("--profile", type=Path, action="append", default=[], help="of transform; else the model's own")
    arguments = options.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device: nothing was measured")
        publish("device_decode", [], [], arguments.json)
        return
    num_tokens, repeats = (1024, 3) if arguments.quick else (8192, 10)
    model, tokenizer = load_model(arguments.model or demo_model_dir(), fast_dtype())
    profiles = profiles_from(arguments.profile)
    if not profiles and (profile := default_profile(model, profile_directory())):
        profiles = {"default": profile}
    names = [name for name in _CODECS if profiles or not name.startswith(Transform.id)]
    token_ids = tokenizer(shipped_document(), return_tensors="pt").input_ids[:, :num_tokens]
    spec = replace(spec_of(model, revision="benchmark"), dtype="bfloat16")
    kv = kv_of(spec, ttft.computed_context(model, token_ids))
    publish(
        "device_decode", measured(kv, codecs_named(names, profiles), torch.device("cuda"), repeats), [], arguments.json
    )


if __name__ == "__main__":
    main()
