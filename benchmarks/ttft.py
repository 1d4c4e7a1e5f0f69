"""How much sooner does the first token come when the context's KV is in the store?

Per context length and codec: nothing reused, from RAM, from disk in a new process (store opened, bytes
read, verified and decoded, first token out; loading the model is not counted, the page cache is dropped
first), and the floor: the KV in place already, only the prompt's last token computed. `tail` is how many
tokens stand behind the stored context: 1 is the same prompt again, 16 a short question.

And with nothing to reuse: the same unseen prompts with and without the store, in pairs. `first token`
is what a request waits; `back to back` also counts the saving that the next request runs beside.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from benchmarks.codecs import codecs_named, profiles_from
from benchmarks.report import Check, at_least, at_most, interval_of_median, parser, publish
from codec import Codec, Profile, register
from connectors.hf import CachedModel, spec_of, ttft
from connectors.hf.default_profile import default_profile
from connectors.hf.models import demo_model_dir, fast_dtype, load_model
from connectors.hf.prompts import shipped_document
from connectors.hf.scoring import kv_of
from connectors.settings import profile_directory
from kvstore import DiskTier, KVStore, MemoryTier

TAILS = (1, 16)
_MEMORY_BYTES, _DISK_BYTES = 12 << 30, 64 << 30
_RAM_BAR, _DISK_BAR, _BAR_TOKENS, _OVERHEAD_BAR = 15.0, 8.0, 2048, 0.01


def main() -> None:
    arguments = _arguments()
    dtype = fast_dtype() if arguments.dtype == "auto" else getattr(torch, arguments.dtype)
    directory = arguments.model or demo_model_dir()
    model, tokenizer = load_model(directory, dtype)
    document = arguments.text.read_text() if arguments.text else shipped_document()
    text = torch.tensor([tokenizer(document).input_ids])
    lengths, codecs = [int(n) for n in arguments.contexts.split(",")], _codecs(model, arguments)
    if text.shape[1] < max(lengths) + max(TAILS):
        raise SystemExit(f"the text has {text.shape[1]} tokens, a context of {max(lengths)} needs more: give --text")
    rows: list[dict[str, Any]] = []
    with Progress() as progress, tempfile.TemporaryDirectory(prefix="kvstore-ttft-") as scratch:
        task = progress.add_task("warming up", total=len(lengths) + arguments.new_processes + arguments.pairs)
        ttft.first_token_s(model, text[:, :64])
        for length in lengths:
            progress.update(task, advance=1, description=f"{length} tokens, same process")
            rows += _same_process(model, text, length, codecs, arguments.repeats, Path(scratch))
        for _ in range(arguments.new_processes):
            progress.update(task, advance=1, description="disk, new process")
            _add_new_process(rows, codecs, directory, dtype, text, Path(scratch))
        overhead = []
        for pair in range(arguments.pairs):
            progress.update(task, advance=1, description=f"nothing to reuse, {arguments.pair_tokens} tokens")
            overhead.append(_unseen_pair(model, text, arguments.pair_tokens, next(iter(codecs.values())), pair))
    _finish(rows)
    miss_rows = [_overhead_row("first token", [pair[:2] for pair in overhead], arguments.pair_tokens)]
    miss_rows.append(_overhead_row("back to back", [pair[2:] for pair in overhead], arguments.pair_tokens))
    publish("ttft", [*rows, *miss_rows], _checks(rows, miss_rows), arguments.json)


def _arguments() -> argparse.Namespace:
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--model", help="hub id or directory; the demo model where absent")
    options.add_argument("--text", type=Path, help="the text the prompts are cut from; the shipped one where absent")
    options.add_argument("--contexts", default="512,1024,2048,4096,8192", help="context lengths in tokens")
    options.add_argument("--profile", type=Path, help="of transform; the model's own where absent")
    options.add_argument("--codecs", help="comma-separated; lossless, after transform if its profile is at hand")
    options.add_argument("--dtype", default="auto", choices=["auto", "bfloat16", "float16", "float32"])
    options.add_argument("--repeats", type=int, default=5, help="runs of each row; the median is reported")
    options.add_argument("--new-processes", type=int, default=5)
    options.add_argument("--pairs", type=int, default=30, help="prompts to measure with nothing to reuse")
    options.add_argument("--pair-tokens", type=int, default=1024)
    arguments = options.parse_args()
    if arguments.quick:
        arguments.contexts, arguments.repeats, arguments.new_processes = "512", 2, 1
        arguments.pairs, arguments.pair_tokens = 4, 128
    return arguments


def _codecs(model: Any, arguments: argparse.Namespace) -> dict[str, Codec]:
    """Those to measure, by name; the first is the one that saves where nothing is to be reused."""
    profiles: dict[str, Profile] = profiles_from([arguments.profile] if arguments.profile else [])
    if not profiles and (own := default_profile(model, profile_directory())):
        profiles = {"own": register(own)}
    names = arguments.codecs or ("transform,lossless" if profiles else "lossless")
    return codecs_named(names.split(","), profiles)


def _same_process(
    model: Any, text: torch.Tensor, length: int, codecs: Mapping[str, Codec], repeats: int, scratch: Path
) -> list[dict[str, Any]]:
    """Rows of one context length, without the new-process times; leaves the stores' directories in `scratch`."""
    spec, rows = spec_of(model), []
    computed = ttft.computed_context(model, text[:, :length])
    kv = kv_of(spec, computed)
    prompts = {tail: text[:, : length if tail == 1 else length + tail] for tail in TAILS}
    none = {tail: [ttft.first_token_s(model, prompt) for _ in range(repeats)] for tail, prompt in prompts.items()}
    for name, codec in codecs.items():
        path = scratch / f"{name}-{length}"
        store = KVStore([MemoryTier(_MEMORY_BYTES), DiskTier(path, _DISK_BYTES)], codec)
        store.save(store.identity(spec), text[0, :length].tolist(), kv)
        frame_bytes = sum(entry.size_bytes for entry in store.tier.entries())
        with CachedModel(model, store) as cached:
            for tail, prompt in prompts.items():
                ttft.first_token_s(cached, prompt)
                rows.append(
                    {
                        "codec": name,
                        "context": length,
                        "tail": tail,
                        "none_s": statistics.median(none[tail]),
                        "ram_s": statistics.median(ttft.first_token_s(cached, prompt) for _ in range(repeats)),
                        "disk_s": [],
                        "floor_s": statistics.median(_floor(model, computed, prompt) for _ in range(repeats)),
                        "bytes_per_token": frame_bytes / length,
                    }
                )
        store.close()
    return rows


def _floor(model: Any, computed: Any, prompt: torch.Tensor) -> float:
    if computed.get_seq_length() == prompt.shape[1]:
        prompt = torch.cat([prompt, prompt[:, :1]], dim=1)  # one more token, so that one is left to compute
    return ttft.last_token_s(model, computed, prompt)


def _add_new_process(
    rows: Sequence[dict[str, Any]],
    codecs: Mapping[str, Codec],
    directory: Path | str,
    dtype: torch.dtype,
    text: torch.Tensor,
    scratch: Path,
) -> None:
    """One more sample of every row, each the first look of one new process at its store."""
    for tail in TAILS:
        measured = [row for row in rows if row["tail"] == tail]
        prompts = [text[0, : row["context"] + (0 if tail == 1 else tail)].tolist() for row in measured]
        cases = [
            ttft.NewProcessCase(str(scratch / f"{row['codec']}-{row['context']}"), codec.id, prompt, 0, codec.params())
            for row, prompt in zip(measured, prompts, strict=True)
            for codec in [codecs[row["codec"]]]
        ]
        for row, result in zip(measured, ttft.in_new_process(directory, dtype, cases), strict=True):
            row["disk_s"].append(result.open_s + result.first_token_s)


def _finish(rows: Sequence[dict[str, Any]]) -> None:
    """Medians for the new-process samples, and the ratios."""
    for row in rows:
        row["disk_s"] = statistics.median(row["disk_s"]) if row["disk_s"] else float("nan")
        row["ram_x"], row["disk_x"] = row["none_s"] / row["ram_s"], row["none_s"] / row["disk_s"]


def _unseen_pair(
    model: Any, text: torch.Tensor, tokens: int, codec: Codec, pair: int
) -> tuple[float, float, float, float]:
    """Seconds without and with a store that has never seen the prompt: to the first token, then with saving."""
    chosen = random.Random(pair)
    prompt = text[:, [chosen.randrange(text.shape[1]) for _ in range(tokens)]]
    with tempfile.TemporaryDirectory(prefix="kvstore-miss-") as path:
        store = KVStore([MemoryTier(_MEMORY_BYTES), DiskTier(path, _DISK_BYTES)], codec)
        with CachedModel(model, store, revision="benchmark") as cached:

            def without() -> tuple[float, float]:
                first = ttft.first_token_s(model, prompt)
                return first, first + ttft.first_token_s(model, prompt.flip(1))

            def with_store() -> tuple[float, float]:
                first = ttft.first_token_s(cached, prompt)
                both = first + ttft.first_token_s(cached, prompt.flip(1))  # runs beside the saving of the first
                cached.flush()
                return first, both

            order = [without, with_store] if pair % 2 else [with_store, without]
            seconds = {run.__name__: run() for run in order}
        store.close()
    none, ours = seconds["without"], seconds["with_store"]
    return none[0], ours[0], none[1], ours[1]


def _overhead_row(what: str, pairs: Sequence[tuple[float, ...]], tokens: int) -> dict[str, Any]:
    """Median of the pairs' ratios."""
    ratios = [ours / none - 1 for none, ours in pairs]
    return {
        "nothing to reuse": what,
        "tokens": tokens,
        "pairs": len(pairs),
        "none_s": statistics.median(none for none, _ in pairs),
        "store_s": statistics.median(ours for _, ours in pairs),
        "overhead": statistics.median(ratios),
        **interval_of_median(ratios),
    }


def _checks(rows: Sequence[dict[str, Any]], miss_rows: Sequence[dict[str, Any]]) -> list[Check]:
    length = min((row["context"] for row in rows), key=lambda context: abs(context - _BAR_TOKENS))
    checks = [
        check
        for row in rows
        if row["context"] == length
        for check in (
            at_least(
                f"RAM hit, times sooner, {length} tokens, {row['codec']}, tail {row['tail']}", row["ram_x"], _RAM_BAR
            ),
            at_least(
                f"disk, times sooner, {length} tokens, {row['codec']}, tail {row['tail']}", row["disk_x"], _DISK_BAR
            ),
        )
    ]
    return [*checks, at_most("slower with nothing to reuse", miss_rows[0]["overhead"], _OVERHEAD_BAR)]


if __name__ == "__main__":
    main()
