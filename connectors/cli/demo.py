"""`kvstore demo`: the main job on a real model, with nothing but this machine."""

from __future__ import annotations

import json
import math
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from codec import codec_class, codec_from
from connectors.cli.output import print_line, print_table
from kvstore import DiskTier, InvalidRequest, KVStore, MemoryTier

if TYPE_CHECKING:
    from connectors.hf.prompts import SharedContext

_QUESTIONS = (
    "Who refused his assent to laws?",
    "Which rights does the text call unalienable?",
    "What does the text say about taxes?",
)
_MEMORY_BYTES, _DISK_BYTES = 8 << 30, 64 << 30
_BFLOAT16_BYTES = 2
_NEW_PROCESSES = 3  # their median: a first look at a disk varies


@dataclass(frozen=True)
class DemoRun:
    """One codec at one context length; times are medians over the questions, in seconds."""

    codec: str
    context_tokens: int
    ttft_none_s: float
    ttft_memory_s: float
    ttft_disk_new_process_s: float
    bytes_per_token: float
    bf16_bytes_per_token: int
    same_tokens: bool
    tokens_compared: int


def demo(
    model: Annotated[str, typer.Option(help="Hub id or directory of a causal language model.", envvar="MODEL")] = "",
    file: Annotated[Path | None, typer.Option(help="Your own text, instead of the one shipped.")] = None,
    question: Annotated[list[str] | None, typer.Option(help="A question about the text; may be repeated.")] = None,
    contexts: Annotated[str, typer.Option(help="Lengths of the shared context, in tokens.")] = "2048,4096",
    codecs: Annotated[str, typer.Option(help="Codecs to store the KV with.")] = "lossless,int8",
    new_tokens: Annotated[int, typer.Option(help="Greedy tokens to generate and compare.", min=32)] = 32,
    dtype: Annotated[str, typer.Option(help="bfloat16, float16, float32; auto takes the fastest here.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Ask questions behind a long context: without the store, from RAM, and from disk in a new process.

    The context's KV is computed once and kept. Each question then loads it instead of computing it again.
    The last column says whether the answer is, token by token, what the model says without the store.

    Example: kvstore demo --contexts 1024 --file report.txt --question "What went wrong?"
    """
    lengths = _lengths(contexts)
    names = codecs.split(",")
    for name in names:
        codec_class(name)  # a misspelt codec is an error before the model is loaded, not after
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("loading the model", total=1 + len(lengths) * (2 + len(names)))

        def step(doing: str) -> None:
            progress.update(task, advance=1, description=doing)

        report = _run(model, file, question or _QUESTIONS, lengths, names, new_tokens, dtype, step)
        progress.update(task, advance=1, description="done")
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _print_table(report)


def _lengths(contexts: str) -> list[int]:
    try:
        return [int(text) for text in contexts.split(",")]
    except ValueError as error:
        raise InvalidRequest(f"contexts {contexts!r} are not numbers of tokens such as 2048,4096") from error


def _run(
    source: str,
    file: Path | None,
    questions: Sequence[str],
    lengths: Sequence[int],
    codecs: Sequence[str],
    new_tokens: int,
    dtype_name: str,
    step: Callable[[str], None],
) -> dict[str, Any]:
    from connectors.hf import ttft  # the demo alone needs transformers, which takes seconds to import
    from connectors.hf.models import demo_model_dir, fast_dtype, load_model
    from connectors.hf.prompts import shared_context, shipped_document
    from connectors.hf.spec import spec_of

    if dtype_name not in ("auto", "bfloat16", "float16", "float32"):
        raise InvalidRequest(f"dtype {dtype_name!r} is none of auto, bfloat16, float16, float32")
    directory = source or str(demo_model_dir())
    dtype = fast_dtype() if dtype_name == "auto" else getattr(torch, dtype_name)
    model, tokenizer = load_model(directory, dtype)
    document = shipped_document() if file is None else file.read_text(encoding="utf-8")
    contexts = [shared_context(tokenizer, document, questions, length) for length in lengths]
    ttft.first_token_s(model, contexts[0].questions[0])  # the first forward pass sets up the arithmetic libraries
    runs = []
    for context in contexts:
        with tempfile.TemporaryDirectory(prefix="kvstore-demo-") as scratch:
            runs += _runs_of_context(model, directory, context, codecs, new_tokens, Path(scratch), step)
    return {
        "model": spec_of(model).model,
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "runs": [asdict(run) for run in runs],
    }


def _runs_of_context(
    model: Any,
    directory: str,
    context: SharedContext,
    codecs: Sequence[str],
    new_tokens: int,
    scratch: Path,
    step: Callable[[str], None],
) -> list[DemoRun]:
    """One row per codec; the new processes look at every codec's store, in turn."""
    from connectors.hf import ttft

    prompts, runs, cases = context.prompts(), [], []
    step(f"{context.num_tokens} tokens, without the store")
    none_s = statistics.median(ttft.first_token_s(model, prompt) for prompt in prompts)
    computed = ttft.computed_context(model, context.context)
    expected = [ttft.reference_answer(model, computed, prompt, new_tokens) for prompt in prompts]
    for name in codecs:
        step(f"{context.num_tokens} tokens, {name}")
        runs.append(_from_memory(model, context, name, expected, none_s, scratch / name))
        cases.append(ttft.NewProcessCase(str(scratch / name), name, prompts[0][0].tolist(), new_tokens))
    step(f"{context.num_tokens} tokens, new processes")
    samples = [ttft.in_new_process(directory, model.dtype, cases) for _ in range(_NEW_PROCESSES)]
    return [
        replace(
            run,
            ttft_disk_new_process_s=statistics.median(fresh.open_s + fresh.first_token_s for fresh in seen),
            same_tokens=run.same_tokens and all(fresh.token_ids == expected[0] for fresh in seen),
            tokens_compared=run.tokens_compared + new_tokens * len(seen),
        )
        for run, seen in zip(runs, zip(*samples, strict=True), strict=True)
    ]


def _from_memory(
    model: Any, context: SharedContext, codec: str, expected: Sequence[Sequence[int]], none_s: float, path: Path
) -> DemoRun:
    """Saves the context in `path` and asks from RAM; what a new process sees is still to be filled in."""
    from connectors.hf import CachedModel, ttft

    num_new, prompts = len(expected[0]), context.prompts()
    with KVStore([MemoryTier(_MEMORY_BYTES), DiskTier(path, _DISK_BYTES)], codec_from(codec)) as store:
        ttft.save_context(model, store, context.context)
        frame_bytes = sum(entry.size_bytes for entry in store.tier.entries())
        with CachedModel(model, store) as cached:
            memory_s = statistics.median(ttft.first_token_s(cached, prompt) for prompt in prompts)
            answers = [ttft.answer(cached, prompt, num_new) for prompt in prompts]
            elements = cached.spec.bytes_per_token // model.dtype.itemsize
    return DemoRun(
        codec=codec,
        context_tokens=context.num_tokens,
        ttft_none_s=none_s,
        ttft_memory_s=memory_s,
        ttft_disk_new_process_s=math.nan,
        bytes_per_token=frame_bytes / context.num_tokens,
        bf16_bytes_per_token=elements * _BFLOAT16_BYTES,
        same_tokens=answers == expected,
        tokens_compared=num_new * len(prompts),
    )


def _print_table(report: dict[str, Any]) -> None:
    runs = [DemoRun(**values) for values in report["runs"]]
    print_line(f"{report['model']}, {report['dtype']}, {report['threads']} threads: time to first token")
    columns = ["context>", "codec", "no store>", "from RAM>", "from disk>", "bytes/token>", "of bf16>", "same"]
    print_table(columns, [_row(run) for run in runs])
    print_line(
        "From disk: in a new process that has never seen the store, its files dropped from the page cache.\n"
        f"Same: {runs[0].tokens_compared} greedy tokens equal those computed without the store in the same two steps,\n"
        "context then question (one pass over both differs by its matrix shapes alone, in bfloat16\n"
        "sometimes by a token). lossless promises it; int8 does not."
    )


def _row(run: DemoRun) -> tuple[str, ...]:
    def sooner(seconds: float) -> str:
        return f"{seconds:.3f} s {run.ttft_none_s / seconds:5.1f}x"

    return (
        str(run.context_tokens),
        run.codec,
        f"{run.ttft_none_s:.2f} s",
        sooner(run.ttft_memory_s),
        sooner(run.ttft_disk_new_process_s),
        f"{run.bytes_per_token:,.0f}",
        f"{run.bytes_per_token / run.bf16_bytes_per_token:.2f}",
        "yes" if run.same_tokens else "no",
    )
