"""`kvstore calibrate`: a profile for the `transform` codec, from a model and a few dozen texts."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

import torch
import typer

from codec.band import BLOCKS
from connectors.cli.options import DtypeOption, JsonOption, LanguageModelOption
from connectors.cli.output import print_json, print_line, print_table
from connectors.cli.output import progress as progress_bar
from connectors.codec_choice import profile_path
from connectors.settings import profile_directory
from kvstore import InvalidRequest


def calibrate(
    corpus: Annotated[list[Path], typer.Option(help="MuSiQue .json, LongChat .jsonl or plain text; repeat to mix.")],
    model: LanguageModelOption = "",
    out: Annotated[
        Path | None, typer.Option(help="File to write. Without it: where stores look for this model's profile.")
    ] = None,
    texts: Annotated[int, typer.Option(help="Texts to calibrate on, in turns from every file.", min=1)] = 24,
    held_out: Annotated[int, typer.Option(help="Further texts to measure on.", min=1)] = 6,
    tokens: Annotated[int, typer.Option(help="Tokens of each text.", min=64)] = 768,
    skip: Annotated[int, typer.Option(help="Texts at the beginning of every file to leave out.", min=0)] = 0,
    dtype: DtypeOption = "auto",
    layers_together: Annotated[
        int | None, typer.Option(help="Layers that share a transform: smaller and slower; by default what stays cheap.")
    ] = None,
    blocks: Annotated[str, typer.Option(help="What a transform spans: band, part (keys or values), or head.")] = "band",
    as_json: JsonOption = False,
) -> None:
    """Fit what `transform` needs to know of a model, and say what each quality costs on texts held out.

    Mix kinds of text: what none of them holds is coded worse. Minutes for a small model on two cores.
    From then on a store of codec `auto` takes it, for exactly these weights in this dtype; for others
    name the file in `store.profile`.

    Example: kvstore calibrate --model DIR --corpus questions.json --corpus chats.jsonl
    """
    from connectors.hf.calibrate import Shape, num_steps
    from connectors.hf.calibrate import calibrate as fit  # transformers takes seconds to import
    from connectors.hf.corpora import read_corpus, windows_in_turn
    from connectors.hf.models import demo_model_dir, dtype_named, load_model

    if blocks not in BLOCKS or (layers_together is not None and layers_together < 1):
        raise InvalidRequest(f"blocks {blocks!r} of {layers_together} layers; allowed are {', '.join(BLOCKS)}, from 1")
    if out is not None and not out.absolute().parent.is_dir():
        raise InvalidRequest(f"there is no directory {out.absolute().parent} to write {out.name} to")
    loaded, tokenizer = load_model(model or demo_model_dir(), dtype_named(dtype))
    kinds = [[passages.text for passages in read_corpus(file)[skip:]] for file in corpus]
    windows = list(islice(windows_in_turn(tokenizer, kinds, tokens), texts + held_out))
    if len(windows) < texts + held_out:
        raise InvalidRequest(f"the corpus has {len(windows)} texts of {tokens} tokens, not {texts + held_out}")
    torch.manual_seed(0)
    with progress_bar(hidden=as_json) as bar:
        task = bar.add_task("calibrating", total=num_steps(texts, held_out))
        profile, curve = fit(
            loaded,
            windows[:texts],
            windows[texts:],
            lambda doing: bar.update(task, advance=1, description=doing),
            Shape(layers_together, blocks),
        )
    if out is None:
        out = profile_path(profile_directory(), profile.spec)
        out.parent.mkdir(parents=True, exist_ok=True)
    profile.save(out)
    points = [vars(point) for point in curve]
    if as_json:
        print_json(
            {"profile": profile.fingerprint, "file": str(out), "levels": dict(profile.levels), "held_out": points}
        )
        return
    print_table(
        ["step>", "bits per number>", "KL, nats>", "worst text>", "same top token>"],
        [[f"{p.step:.5f}", f"{p.bits:.2f}", f"{p.kl:.4f}", f"{p.kl_worst_text:.4f}", f"{p.top1:.3f}"] for p in curve],
    )
    levels = ", ".join(f"{name} {step:.5f}" for name, step in profile.levels.items())
    print_line(f"{out}: profile {profile.fingerprint[:12]} of {profile.spec.model}; levels {levels}")
