"""`kvstore gate`: how much of reused passages must be recomputed for a model's answers to stay close enough."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from blend.gate import DEFAULT_BOUND, Verdict
from connectors.cli.options import DtypeOption, JsonOption, LanguageModelOption
from connectors.cli.output import print_json, print_line, print_table
from connectors.cli.output import progress as progress_bar
from connectors.codec_choice import AUTO, choose_codec, gate_path
from connectors.settings import profile_directory
from kvstore import InvalidRequest, KVStore, MemoryTier

_STORE_BYTES = 16 << 30  # of passages, while they are measured


def gate(
    corpus: Annotated[Path, typer.Option(help="Questions with passages and answers: a MuSiQue .json.")],
    model: LanguageModelOption = "",
    bound: Annotated[float, typer.Option(help="The largest mean KL to accept, in nats.", min=0.0)] = DEFAULT_BOUND,
    shares: Annotated[str, typer.Option(help="Shares of reused tokens to recompute, ascending.")] = "0.1,0.2,0.3,0.5",
    codec: Annotated[str, typer.Option(help="As the model will be served: what it loses counts.")] = AUTO,
    passages: Annotated[int, typer.Option(help="Passages in a prompt.", min=1)] = 4,
    prompts: Annotated[int, typer.Option(help="Prompts to measure.", min=1)] = 12,
    skip: Annotated[int, typer.Option(help="Questions at the beginning of the file to leave out.", min=0)] = 0,
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure blended answers against those of prompts computed in full, and keep the verdict beside the profile.

    From then on the model is blended, with the smallest share whose mean KL is within the bound, if that is sooner
    than computing; where none is within, it is not, and the exit code is 1.

    Example: kvstore gate --model DIR --corpus musique.json
    """
    from connectors.hf import spec_of  # transformers takes seconds to import
    from connectors.hf.blend_quality import asked_prompts, num_steps
    from connectors.hf.blending import DEFAULT_SELECTOR, sink_of
    from connectors.hf.gate import judge
    from connectors.hf.models import demo_model_dir, dtype_named, load_model

    wanted = _shares(shares)
    loaded, tokenizer = load_model(model or demo_model_dir(), dtype_named(dtype))
    asked = asked_prompts(tokenizer, corpus, passages)[skip : skip + prompts]
    if not asked:
        raise InvalidRequest(f"{corpus} has no question behind the first {skip}")
    spec, tier = spec_of(loaded), MemoryTier(_STORE_BYTES)
    chosen = choose_codec(codec, "balanced", None, profile_directory(), spec, tier)
    with KVStore([tier], chosen) as store, progress_bar(hidden=as_json) as bar:
        task = bar.add_task("measuring", total=num_steps(asked, len(wanted)))
        verdict = judge(
            loaded,
            tokenizer,
            store,
            store.identity(spec),
            asked,
            DEFAULT_SELECTOR(),
            wanted,
            sink_of(tokenizer),
            bound,
            lambda doing: bar.update(task, advance=1, description=doing),
        )
    path = gate_path(profile_directory(), spec)
    verdict.save(path)
    if as_json:
        passed = None if verdict.passed is None else asdict(verdict.passed)
        print_json({"file": str(path), "passed": passed, **asdict(verdict)})
    else:
        _show(verdict, path)
    if verdict.passed is None:
        raise typer.Exit(1)


def _shares(text: str) -> list[float]:
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidRequest(f"shares {text!r} are no numbers: {error}") from error
    if shares != sorted(set(shares)) or not 0 <= shares[0] <= shares[-1] <= 1:
        raise InvalidRequest(f"shares {text!r} must ascend, between 0 and 1")
    return shares


def _show(verdict: Verdict, path: Path) -> None:
    columns = ["recomputed>", "KL>", "top-1>", "same answer>", "F1>", "in full>", "sooner>"]
    print_table(
        columns,
        [
            (
                f"{point.share:.0%}",
                f"{point.kl:.4f}",
                f"{point.top1:.3f}",
                f"{point.same_answer:.0%}",
                f"{point.f1:.3f}",
                f"{verdict.full_f1:.3f}",
                f"{point.sooner:.1f}x",
            )
            for point in verdict.measured
        ],
    )
    passed = verdict.passed
    if passed is None:
        print_line(f"No share is within a KL of {verdict.bound:g}: this model will not be blended. Written to {path}")
    elif not passed.pays:
        print_line(f"{passed.share:.0%} recomputed is close enough, but no sooner: it will not be blended. See {path}")
    else:
        print_line(f"{passed.share:.0%} recomputed is within a KL of {verdict.bound:g}. Written to {path}")
