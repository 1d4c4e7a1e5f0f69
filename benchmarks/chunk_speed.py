"""How fast do whole chunks of real KV become frames and come back? The second half of `benchmarks.codec_speed`.

KV of the shipped document in bfloat16, in chunks of 128 tokens. One core: one thread does chunk after chunk; two:
two threads share the chunks. GB/s are of bfloat16 KV, so `memcpy` is the ceiling; `prefill` is what decoding
saves, on both cores. Stages of `transform` are timed by themselves: `entropy` (streams to multiples), `transform`
(multiples to channels), `rotation` (channels to turned keys and values in the engine's layout).

The floor of decoding at `balanced`, per 1,000 tokens of the demo model, estimated by counting: of 11.5 million
numbers about half are in columns that are not all zero, and about 2 million are not zero. Entropy: 6 million symbols
at 1 ns, 6 ms. Transform: each number that is not zero times 1,152 channels is 2.3 GFLOP, 25 ms at the 90 GFLOP/s of
one Zen 3 core, if only those were multiplied; the dense part multiplies zeros too. Writing 23 MB: 3 ms.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import zstandard

from benchmarks.codecs import codecs_named
from benchmarks.report import Check, at_least
from codec import Codec, Frame, KVArray, Profile, Transform, column_codes, decode_chunk, encode_chunk, register
from codec.band import Band
from connectors.hf import spec_of, ttft
from connectors.hf.default_profile import default_profile
from connectors.hf.models import demo_model_dir, fast_dtype, load_model
from connectors.hf.prompts import shipped_document
from connectors.hf.scoring import kv_of
from connectors.settings import profile_directory

_CHUNK_TOKENS = 128
_CACHEGEN_S_PER_TOKEN = 1.6e-3  # LMCache 0.5.6's CacheGen on a CPU of this kind, this model
_TIMES_CACHEGEN, _TIMES_PREFILL = 15.0, 8.0
_CODECS = ("lossless", "int8", "cachegen", "transform:quality=high", "transform", "transform:quality=small")


def chunk_speed(
    model_dir: str, profiles: Mapping[str, Profile], quick: bool
) -> tuple[list[dict[str, Any]], list[Check]]:
    """Rows and checks. Without a profile `transform` is left out."""
    num_tokens, repeats = (512, 3) if quick else (1024, 7)
    model, tokenizer = load_model(model_dir or demo_model_dir(), fast_dtype())
    if not profiles and (profile := default_profile(model, profile_directory())):
        profiles = {"default": register(profile)}
    names = [name for name in _CODECS if profiles or not name.startswith(Transform.id)]
    token_ids = tokenizer(shipped_document(), return_tensors="pt").input_ids[:, :num_tokens]
    prefill_s = _seconds(2, lambda: ttft.computed_context(model, token_ids))
    spec = replace(spec_of(model, revision="benchmark"), dtype="bfloat16")
    kv = kv_of(spec, ttft.computed_context(model, token_ids))
    rows = [_row("prefill", kv, prefill_s, None, None, prefill_s), *_controls(kv, repeats, prefill_s)]
    checks = []
    for name, codec in codecs_named(names, profiles).items():
        row, stages = _codec_rows(name, codec, kv, repeats, prefill_s)
        rows += [row, *stages]
        if codec.id == Transform.id:
            own_s = kv.num_tokens / row["decode_tokens_s"]
            times = _CACHEGEN_S_PER_TOKEN * kv.num_tokens / own_s
            checks.append(at_least(f"{name}: decode, times LMCache's CacheGen", times, _TIMES_CACHEGEN))
            checks.append(at_least(f"{name}: decode, times prefill", prefill_s / own_s, _TIMES_PREFILL))
    return rows, checks


def _codec_rows(
    name: str, codec: Codec, kv: KVArray, repeats: int, prefill_s: float
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    starts = range(0, kv.num_tokens, _CHUNK_TOKENS)
    chunks = [kv.tokens(start, start + _CHUNK_TOKENS) for start in starts]
    room = KVArray.empty(kv.spec, kv.num_tokens)
    rooms = [room.tokens(start, start + _CHUNK_TOKENS) for start in starts]

    def encode() -> list[Frame]:
        return [Frame(encode_chunk(codec, chunk, "0" * 64, start)) for chunk, start in zip(chunks, starts, strict=True)]

    with _one_thread() as thread, ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as both:
        frames = thread.submit(encode).result()
        encode_s = thread.submit(_seconds, max(1, repeats // 3), encode).result()
        decode_s = thread.submit(_seconds, repeats, lambda: list(map(decode_chunk, frames, rooms))).result()
        decode_2_s = _seconds(repeats, lambda: list(both.map(decode_chunk, frames, rooms)))
        stages = thread.submit(_stages, name, codec, kv, frames, repeats, prefill_s).result()
    row = _row(name, kv, decode_s, decode_2_s, encode_s, prefill_s)
    return {**row, "bits": 8 * sum(frame.num_bytes for frame in frames) / _elements(kv)}, stages


def _stages(
    name: str, codec: Codec, kv: KVArray, frames: list[Frame], repeats: int, prefill_s: float
) -> list[dict[str, Any]]:
    """Seconds in each stage of `transform`, over all chunks; no rows for other codecs."""
    if not isinstance(codec, Transform):
        return []
    samples = [_staged(frames, kv) for _ in range(repeats)]
    fastest = {stage: min(sample[stage] for sample in samples) for stage in samples[0]}
    return [_row(f"  {name}: {stage}", kv, seconds, None, None, prefill_s) for stage, seconds in fastest.items()]


def _staged(frames: list[Frame], kv: KVArray) -> dict[str, float]:
    """Seconds by stage; `rotation` is what is left: turning, writing, and everything between."""
    spent = {"entropy": 0.0, "transform": 0.0}
    room = KVArray.empty(kv.spec, _CHUNK_TOKENS)

    def timed(stage: str, run: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            start = time.perf_counter()
            result = run(*arguments)
            spent[stage] += time.perf_counter() - start
            return result

        return call

    entropy = patch.object(column_codes, "unpack", timed("entropy", column_codes.unpack))
    synthesis = patch.object(Band, "channels", timed("transform", Band.channels))
    with entropy, synthesis:
        start = time.perf_counter()
        for frame in frames:
            decode_chunk(frame, room)
        whole = time.perf_counter() - start
    return {**spent, "rotation": whole - sum(spent.values())}


def _controls(kv: KVArray, repeats: int, prefill_s: float) -> list[dict[str, Any]]:
    raw = torch.cat([part.contiguous().flatten() for part in (*kv.keys, *kv.values)]).view(torch.uint8).numpy()
    room, writer, reader = np.empty_like(raw), zstandard.ZstdCompressor(level=1), zstandard.ZstdDecompressor()
    packed = writer.compress(raw.data)
    memcpy_s = _seconds(repeats, lambda: np.copyto(room, raw))
    zstd_s = _seconds(repeats, lambda: reader.decompress(packed))
    zstd_encode_s = _seconds(1, lambda: writer.compress(raw.data))
    zstd = _row("zstd -1", kv, zstd_s, None, zstd_encode_s, prefill_s)
    return [_row("memcpy", kv, memcpy_s, None, memcpy_s, prefill_s), {**zstd, "bits": 8 * len(packed) / _elements(kv)}]


def _row(
    name: str, kv: KVArray, decode_s: float, decode_2_s: float | None, encode_s: float | None, prefill_s: float
) -> dict[str, Any]:
    def rate(of: float, seconds: float | None) -> float | None:
        return of / seconds if seconds else None

    best_s = decode_s if decode_2_s is None else decode_2_s
    return {
        "whole chunks": name,
        "bits": None,
        "encode_gb_s": rate(kv.num_bytes / 1e9, encode_s),
        "decode_gb_s": rate(kv.num_bytes / 1e9, decode_s),
        "decode_2_cores_gb_s": rate(kv.num_bytes / 1e9, decode_2_s),
        "decode_msymbols_s": rate(_elements(kv) / 1e6, decode_s),
        "decode_tokens_s": rate(kv.num_tokens, best_s),
        "x_faster_than_prefill": prefill_s / best_s,
    }


def _one_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))


def _elements(kv: KVArray) -> int:
    return sum(part.numel() for part in (*kv.keys, *kv.values))


def _seconds(repeats: int, run: Callable[[], Any]) -> float:
    """The fastest of `repeats` runs."""
    fastest = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest
