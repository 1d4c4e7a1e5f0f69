"""`kvstore demo`: the main job on a real model, with nothing but this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from codec import Codec, MissingProfile, Profile, Transform, codec_class, codec_from, register
from connectors.cli.demo_passages import num_steps, print_reused, reused_passages
from connectors.cli.output import print_line, print_table
from connectors.settings import profile_directory
from kvstore import InvalidRequest

if TYPE_CHECKING:
    from connectors.hf.comparison import Comparison

_QUESTIONS = (
    "Who refused his assent to laws?",
    "Which rights does the text call unalienable?",
    "What does the text say about taxes?",
)
_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    TextColumn("{task.completed}/{task.total}"),
    TimeElapsedColumn(),
)


def demo(
    model: Annotated[str, typer.Option(help="Hub id or directory of a causal language model.", envvar="MODEL")] = "",
    file: Annotated[Path | None, typer.Option(help="Your own text, instead of the one shipped.")] = None,
    question: Annotated[list[str] | None, typer.Option(help="A question about the text; may be repeated.")] = None,
    contexts: Annotated[str, typer.Option(help="Lengths of the shared context, in tokens.")] = "2048,4096",
    codecs: Annotated[str, typer.Option(help="Codecs to store the KV with.")] = "transform,lossless",
    new_tokens: Annotated[int, typer.Option(help="Greedy tokens to generate and compare.", min=32)] = 32,
    dtype: Annotated[str, typer.Option(help="bfloat16, float16, float32; auto takes the fastest here.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Ask questions behind a long context: without the store, from RAM, and from disk in a new process.

    The context's KV is computed once and kept. Each question then loads it instead of computing it again.
    The last column says how close the answers stay: lossless promises those of the model without the
    store, token by token. Then ten passages of the text are asked about in a new order, each computed once
    and reused wherever it stands. `transform` needs a profile: the demo model gets one when it has none yet, from
    texts at hand, in about five minutes on two cores; for another model run `kvstore calibrate` first.

    Example: kvstore demo --contexts 1024 --file report.txt --question "What went wrong?"
    """
    lengths = _lengths(contexts)
    names = codecs.split(",")
    for name in names:
        codec_class(name)  # a misspelt codec is an error before the model is loaded, not after
    with Progress(*_COLUMNS, console=Console(stderr=True)) as progress:
        report = _run(progress, model, file, question or _QUESTIONS, lengths, names, new_tokens, dtype)
    if as_json:
        print(json.dumps({**report, "runs": [asdict(run) for run in report["runs"]]}, indent=2))
    else:
        _print_table(report)
        if report["reused_passages"]:
            print_reused(report["reused_passages"])


def _lengths(contexts: str) -> list[int]:
    try:
        return [int(text) for text in contexts.split(",")]
    except ValueError as error:
        raise InvalidRequest(f"contexts {contexts!r} are not numbers of tokens such as 2048,4096") from error


def _run(
    progress: Progress,
    source: str,
    file: Path | None,
    questions: Sequence[str],
    lengths: Sequence[int],
    names: Sequence[str],
    new_tokens: int,
    dtype: str,
) -> dict[str, Any]:
    from connectors.hf import ttft  # the demo alone needs transformers, which takes seconds to import
    from connectors.hf.comparison import compare
    from connectors.hf.models import demo_model_dir, dtype_named, load_model
    from connectors.hf.prompts import shared_context, shipped_document
    from connectors.hf.spec import spec_of

    task = progress.add_task("loading the model", total=None)
    directory = source or str(demo_model_dir())
    model, tokenizer = load_model(directory, dtype_named(dtype))
    codecs = _codecs(progress, names, model, tokenizer, is_demo_model=not source)
    progress.update(task, total=len(lengths) * (2 + len(codecs)) + num_steps(questions))
    document = shipped_document() if file is None else file.read_text(encoding="utf-8")
    contexts = [shared_context(tokenizer, document, questions, length) for length in lengths]
    ttft.first_token_s(model, contexts[0].questions[0])  # the first forward pass sets up the arithmetic libraries

    def step(doing: str) -> None:
        progress.update(task, advance=1, description=doing)

    runs = [run for context in contexts for run in compare(model, directory, context, codecs, new_tokens, step)]
    passages = reused_passages(model, tokenizer, next(iter(codecs.values())), document, questions, step)
    return {
        "model": spec_of(model).model,
        "dtype": str(model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "runs": runs,
        "reused_passages": passages,
    }


def _codecs(
    progress: Progress, names: Sequence[str], model: Any, tokenizer: Any, *, is_demo_model: bool
) -> dict[str, Codec]:
    """By name; without `transform` where there is no profile. Raises MissingProfile when none is left."""
    codecs = {}
    for name in names:
        if name != Transform.id:
            codecs[name] = codec_from(name)
        elif profile := _profile(progress, model, tokenizer, make=is_demo_model):
            codecs[name] = codec_from(name, {"profile": register(profile).fingerprint})
        else:
            progress.console.print("transform is left out: `kvstore calibrate` makes the profile it needs")
    if not codecs:
        raise MissingProfile("transform needs a profile: `kvstore calibrate` makes one for a model")
    return codecs


def _profile(progress: Progress, model: Any, tokenizer: Any, make: bool) -> Profile | None:
    """The model's profile; where there is none yet, a new one if we are to `make` it."""
    from connectors.hf.default_profile import DEFAULT_STEPS, default_profile, make_default_profile

    profile = default_profile(model, directory := profile_directory())
    if profile is not None or not make:
        return profile
    progress.console.print(f"No profile of this model in {directory} yet: calibrating one, this once.")
    task = progress.add_task("calibrating, about five minutes on two cores", total=DEFAULT_STEPS)
    made = make_default_profile(model, tokenizer, directory, lambda _: progress.update(task, advance=1))
    progress.remove_task(task)
    return made


def _print_table(report: dict[str, Any]) -> None:
    runs: list[Comparison] = report["runs"]
    print_line(f"{report['model']}, {report['dtype']}, {report['threads']} threads: time to first token")
    columns = ["context>", "codec", "no store>", "from RAM>", "from disk>", "bytes/token>", "of bf16>", "same"]
    print_table(columns, [_row(run) for run in runs])
    print_line(
        "From disk: in a new process that has never seen the store, its files dropped from the page cache.\n"
        f"Same: {runs[0].tokens_compared} greedy tokens equal those computed without the store in the same two steps,\n"
        "context then question (one pass over both differs by its matrix shapes alone, in bfloat16\n"
        "sometimes by a token). That is the promise of lossless; of the others, how far their predictions\n"
        "are from those, token by token over questions and answers: mean KL in nats, and how often the\n"
        "most likely token is the same."
    )


def _row(run: Comparison) -> tuple[str, ...]:
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
        ("yes" if run.same_tokens else "no") if run.lossless else f"KL {run.kl:.4f}, {run.top1:.1%}",
    )
