"""How fast does KV come out of frames in device memory, beside copying it there uncompressed?

KV of the shipped document in bfloat16, in chunks of 128 tokens: `device`, frames decoded where they lie; `memory`,
those in RAM, by the CPU; and, the do-nothing baseline, the KV itself from pinned memory. Empty without a CUDA device.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.codecs import codecs_named, profiles_from
from benchmarks.report import parser, publish
from codec import Codec, KVArray, Transform, register
from connectors.hf import spec_of, ttft
from connectors.hf.default_profile import default_profile
from connectors.hf.models import demo_model_dir, fast_dtype, load_model
from connectors.hf.prompts import shipped_document
from connectors.hf.scoring import kv_of
from connectors.settings import profile_directory
from kvstore import DeviceTier, KVStore, MemoryTier, Tier

_CODECS = ("lossless", "int8", "transform:quality=high", "transform", "transform:quality=small")


def measured(kv: KVArray, codecs: Mapping[str, Codec], device: torch.device, repeats: int) -> list[dict[str, Any]]:
    """Rows for KV on the CPU that is wanted on `device`."""
    copied_s = _copying(kv, device, repeats)
    rows = [_row("raw, pinned", "none", kv, kv.num_bytes, copied_s, copied_s)]
    for name, codec in codecs.items():
        for tier in (DeviceTier(8 << 30, device), MemoryTier(8 << 30)):
            seconds = _loading(tier, codec, kv, device, repeats)
            rows.append(_row(tier.name, name, kv, tier.size_bytes, seconds, copied_s))
    return rows


def _copying(kv: KVArray, device: torch.device, repeats: int) -> float:
    out, pin = KVArray.empty(kv.spec, kv.num_tokens, device), torch.Tensor.pin_memory
    here = [pin(part.contiguous()) if device.type == "cuda" else part for part in (*kv.keys, *kv.values)]
    pairs = list(zip((*out.keys, *out.values), here, strict=True))
    return _seconds(lambda: [room.copy_(part, non_blocking=True) for room, part in pairs], device, repeats)


def _loading(tier: Tier, codec: Codec, kv: KVArray, device: torch.device, repeats: int) -> float:
    out, token_ids = KVArray.empty(kv.spec, kv.num_tokens, device), list(range(kv.num_tokens))
    store = KVStore([tier], codec)
    store.save(store.identity(kv.spec), token_ids, kv)
    match = store.match(store.identity(kv.spec), token_ids)
    seconds = _seconds(lambda: store.load_into(match, out), device, repeats)
    assert store.metrics.snapshot()["chunks_corrupt"] == 0, "what was just saved is whole"
    return seconds * kv.num_tokens / match.num_tokens


def _row(held: str, codec: str, kv: KVArray, size_bytes: int, seconds: float, copied_s: float) -> dict[str, Any]:
    rate, size = kv.num_tokens / seconds, size_bytes / kv.num_tokens
    return {"held": held, "codec": codec, "tokens_s": rate, "bytes_per_token": size, "x_raw": copied_s / seconds}


def _seconds(run: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """The fastest of `repeats` runs, after one that warms up."""
    fastest, module = float("inf"), torch.get_device_module(device)
    for repeat in range(repeats + 1):
        started_s = time.perf_counter()
        run()
        module.synchronize()
        fastest = min(fastest, time.perf_counter() - started_s) if repeat else fastest
    return fastest


def _measured_on_cuda(files: Sequence[Path], quick: bool) -> list[dict[str, Any]]:
    num_tokens, repeats = (1024, 3) if quick else (8192, 10)
    model, tokenizer = load_model(demo_model_dir(), fast_dtype())
    profiles = profiles_from(files)
    if not profiles and (profile := default_profile(model, profile_directory())):
        profiles = {"default": register(profile)}
    names = [name for name in _CODECS if profiles or not name.startswith(Transform.id)]
    token_ids = tokenizer(shipped_document(), return_tensors="pt").input_ids[:, :num_tokens]
    spec = replace(spec_of(model, revision="benchmark"), dtype="bfloat16")
    kv = kv_of(spec, ttft.computed_context(model, token_ids))
    return measured(kv, codecs_named(names, profiles), torch.device("cuda"), repeats)


def main() -> None:
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--profile", type=Path, action="append", default=[], help="of transform; else the model's own")
    arguments = options.parse_args()
    rows = _measured_on_cuda(arguments.profile, arguments.quick) if torch.cuda.is_available() else []
    if not rows:
        print("no CUDA device: nothing was measured")
    publish("device_decode", rows, [], arguments.json)


if __name__ == "__main__":
    main()
