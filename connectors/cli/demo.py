"""`kvstore demo`: the main job on a real model, with nothing but this machine."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from codec import codec_class, codec_from
from kvstore import DiskTier, InvalidRequest, KVStore, MemoryTier

_QUESTIONS = (
    "Who refused his assent to laws?",
    "Which rights does the text call unalienable?",
    "What does the text say about taxes?",
)
_MEMORY_BYTES, _DISK_BYTES = 8 << 30, 64 << 30
_BFLOAT16_BYTES = 2


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
    lengths = [int(text) for text in contexts.split(",")]
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
        task = progress.add_task("loading the model", total=1 + len(lengths) * (1 + len(names)))

        def step(doing: str) -> None:
            progress.update(task, advance=1, description=doing)

        report = _run(model, file, question or _QUESTIONS, lengths, names, new_tokens, dtype, step)
        progress.update(task, advance=1, description="done")
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _print_table(Console(), report)


def _run(
    source: str,
    file: Path | None,
    questions: Sequence[str],
    lengths: Sequence[int],
    codecs: Sequence[str],
    new_tokens: int,
    dtype_name: str,
    step: Callable[[str], None],
) -> dict[str, object]:
    from connectors.hf import CachedModel, ttft  # the demo alone needs transformers, which takes seconds to import
    from connectors.hf.models import demo_model_dir, fast_dtype, load_model
    from connectors.hf.prompts import shared_context, shipped_document
    from connectors.hf.spec import spec_of

    if dtype_name not in ("auto", "bfloat16", "float16", "float32"):
        raise InvalidRequest(f"dtype {dtype_name!r} is none of auto, bfloat16, float16, float32")
    directory = source or str(demo_model_dir())
    dtype = fast_dtype() if dtype_name == "auto" else getattr(torch, dtype_name)
    model, tokenizer = load_model(directory, dtype)
    spec = spec_of(model)
    elements = spec.bytes_per_token // dtype.itemsize
    document = shipped_document() if file is None else file.read_text(encoding="utf-8")
    contexts = [shared_context(tokenizer, document, questions, length) for length in lengths]
    ttft.first_token_s(model, contexts[0].questions[0])  # the first forward pass sets up the arithmetic libraries
    runs = []
    for context in contexts:
        step(f"{context.num_tokens} tokens, without the store")
        none_s = statistics.median(ttft.first_token_s(model, prompt) for prompt in context.prompts())
        computed = ttft.computed_context(model, context.context)
        expected = [ttft.reference_answer(model, computed, prompt, new_tokens) for prompt in context.prompts()]
        for name in codecs:
            step(f"{context.num_tokens} tokens, {name}")
            with tempfile.TemporaryDirectory(prefix="kvstore-demo-") as path:
                store = KVStore([MemoryTier(_MEMORY_BYTES), DiskTier(path, _DISK_BYTES)], codec_from(name))
                ttft.save_context(model, store, context.context)
                frame_bytes = sum(entry.size_bytes for entry in store.tier.entries())
                with CachedModel(model, store) as cached:
                    memory_s = statistics.median(ttft.first_token_s(cached, prompt) for prompt in context.prompts())
                    answers = [ttft.answer(cached, prompt, new_tokens) for prompt in context.prompts()]
                store.close()
                prompt_ids = context.prompts()[0][0].tolist()
                case = ttft.NewProcessCase(path, name, prompt_ids, new_tokens)
                (fresh,) = ttft.in_new_process(directory, dtype, [case])
            runs.append(
                DemoRun(
                    codec=name,
                    context_tokens=context.num_tokens,
                    ttft_none_s=none_s,
                    ttft_memory_s=memory_s,
                    ttft_disk_new_process_s=fresh.open_s + fresh.first_token_s,
                    bytes_per_token=frame_bytes / context.num_tokens,
                    bf16_bytes_per_token=elements * _BFLOAT16_BYTES,
                    same_tokens=[*answers, fresh.token_ids] == [*expected, expected[0]],
                    tokens_compared=new_tokens * (len(questions) + 1),
                )
            )
    return {
        "model": spec.model,
        "dtype": spec.dtype,
        "threads": torch.get_num_threads(),
        "runs": [asdict(run) for run in runs],
    }


def _print_table(console: Console, report: dict[str, object]) -> None:
    runs = report["runs"]
    assert isinstance(runs, list)
    title = f"{report['model']}, {report['dtype']}, {report['threads']} threads: time to first token"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1), title_justify="left")
    for heading in ("context", "codec", "no store", "from RAM", "from disk", "bytes/token", "of bf16", "same"):
        table.add_column(heading, justify="left" if heading == "codec" else "right", no_wrap=True)
    for values in runs:
        run = DemoRun(**values)
        table.add_row(
            f"{run.context_tokens}",
            run.codec,
            f"{run.ttft_none_s:.2f} s",
            f"{run.ttft_memory_s:.3f} s {run.ttft_none_s / run.ttft_memory_s:4.1f}x",
            f"{run.ttft_disk_new_process_s:.3f} s {run.ttft_none_s / run.ttft_disk_new_process_s:4.1f}x",
            f"{run.bytes_per_token:,.0f}",
            f"{run.bytes_per_token / run.bf16_bytes_per_token:.2f}",
            "yes" if run.same_tokens else "no",
        )
    console.print(table)
    console.print(
        "From disk: a new process that has never seen the store, its files dropped from the page cache.\n"
        f"Same: {DemoRun(**runs[0]).tokens_compared} greedy tokens equal those computed without the store in the "
        "same two steps,\ncontext then question (one pass over both differs by its matrix shapes alone, in bfloat16\n"
        "sometimes by a token). lossless promises it; int8 does not."
    )
