"""`kvstore calibrate`: a profile for the `transform` codec, from a model and a few dozen texts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from connectors.cli.options import JsonOption
from connectors.cli.output import print_json, print_line, print_table
from connectors.cli.output import progress as progress_bar
from kvstore import InvalidRequest


def calibrate(
    corpus: Annotated[list[Path], typer.Option(help="MuSiQue .json, LongChat .jsonl or plain text; repeat to mix.")],
    out: Annotated[Path, typer.Option(help="File to write the profile to.")],
    model: Annotated[str, typer.Option(help="Hub id or directory of a causal language model.", envvar="MODEL")] = "",
    texts: Annotated[int, typer.Option(help="Texts to calibrate on, in turns from every file.", min=1)] = 24,
    held_out: Annotated[int, typer.Option(help="Further texts to measure on.", min=1)] = 6,
    tokens: Annotated[int, typer.Option(help="Tokens of each text.", min=64)] = 768,
    skip: Annotated[int, typer.Option(help="Texts at the beginning of every file to leave out.", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Fit what `transform` needs to know of a model, and say what each quality costs on texts held out.

    Mix kinds of text: what none of them holds is coded worse. Minutes for a small model on two cores.

    Example: kvstore calibrate --model DIR --corpus questions.json --corpus chats.jsonl --out my.profile
    """
    from connectors.hf.calibrate import calibrate as fit  # transformers takes seconds to import
    from connectors.hf.calibrate import num_steps
    from connectors.hf.models import demo_model_dir, fast_dtype, load_model

    loaded, tokenizer = load_model(model or demo_model_dir(), fast_dtype())
    windows = list(islice(_windows(tokenizer, corpus, tokens, skip), texts + held_out))
    if len(windows) < texts + held_out:
        raise InvalidRequest(f"the corpus has {len(windows)} texts of {tokens} tokens, not {texts + held_out}")
    torch.manual_seed(0)
    with progress_bar(hidden=as_json) as bar:
        task = bar.add_task("calibrating", total=num_steps(texts, held_out))
        profile, curve = fit(
            loaded, windows[:texts], windows[texts:], lambda doing: bar.update(task, advance=1, description=doing)
        )
    profile.save(out)
    points = [vars(point) for point in curve]
    if as_json:
        print_json({"profile": profile.fingerprint, "levels": dict(profile.levels), "held_out": points})
        return
    print_table(
        ["step>", "bits per number>", "KL, nats>", "same top token>"],
        [[f"{p.step:.5f}", f"{p.bits:.2f}", f"{p.kl:.4f}", f"{p.top1:.3f}"] for p in curve],
    )
    levels = ", ".join(f"{name} {step:.5f}" for name, step in profile.levels.items())
    print_line(f"{out}: profile {profile.fingerprint[:12]} of {profile.spec.model}; levels {levels}")


def _windows(tokenizer: Any, files: list[Path], num_tokens: int, skip: int) -> Iterator[torch.Tensor]:
    """Token ids `[1, num_tokens]`, from every file in turn."""
    from connectors.hf.corpora import read_corpus, windows

    texts = [[passages.text for passages in read_corpus(file)[skip:]] for file in files]
    turns = [windows(tokenizer, of_file, num_tokens) for of_file in texts]
    while turns:
        for turn in list(turns):
            window = next(turn, None)
            if window is None:
                turns.remove(turn)
            else:
                yield window
