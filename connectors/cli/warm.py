"""`kvstore warm`: computes passages' KV before anybody asks about them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from blend import Segment, content_defined
from connectors.byte_size import format_bytes
from connectors.cli.options import DtypeOption, JsonOption, LanguageModelOption, StoreOption
from connectors.cli.output import print_json, print_line
from connectors.cli.output import progress as progress_bar
from connectors.settings import build_store, load_settings
from kvstore import InvalidRequest


def warm(
    files: Annotated[list[Path], typer.Argument(metavar="FILES", help="Texts; or a .json: a list of texts.")],
    model: LanguageModelOption = "",
    separator: Annotated[str, typer.Option(help="What stands between the passages of a text; \\n is a new line.")] = "",
    unmarked: Annotated[
        bool, typer.Option("--unmarked", help='For prompts that mark nothing, but are given `segments="anywhere"`.')
    ] = False,
    store: StoreOption = None,
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Compute passages and keep their KV, so that prompts with them need not, wherever they stand in them.

    A file is one passage, letter by letter as it will stand in prompts, unless there is a separator. Several short
    ones are computed in one pass of the model; what is held already is not computed again. With --unmarked passages
    are cut where their content says, so that a prompt is found to have them, or parts of them, without being told.

    Example: kvstore warm --model DIR handbook/*.txt
    """
    from connectors.hf import spec_of  # transformers takes seconds to import
    from connectors.hf.blending import Blender, Blending, passed_gate, sink_of
    from connectors.hf.layouts import layout_of_parts
    from connectors.hf.models import demo_model_dir, dtype_named, load_model

    texts = [text for file in files for text in _texts(file, separator.replace("\\n", "\n"))]
    own = {"store.admission": "always"}  # what is computed here has to outlive this process
    settings = load_settings(overrides=own if store is None else {**own, "store.path": str(store)})
    loaded, tokenizer = load_model(model or demo_model_dir(), dtype_named(dtype))
    spec, started_s = spec_of(loaded), time.perf_counter()
    with build_store(settings, spec) as opened, progress_bar(hidden=as_json) as bar:
        gate = passed_gate(settings.store.profile_directory, spec, opened.codec, loaded.device)
        blending = gate or Blending(1.0, behind=sink_of(tokenizer))
        blender = Blender(loaded, opened, opened.identity(spec, settings.store.tenant), blending)
        layouts = [layout_of_parts(tokenizer, [Segment(text)], add_special_tokens=False) for text in texts]
        passages = [layout.token_ids for layout in layouts if layout.token_ids]
        segments = [part for passage in passages for part in _parts(passage)] if unmarked else passages
        task = bar.add_task("computing passages", total=len(segments))
        for _ in blender.warm(segments):
            bar.advance(task)
        blender.close()
        counts, held_bytes = opened.metrics.snapshot(), sum(entry.size_bytes for entry in opened.tier.entries())
    report = {
        "passages": len(passages),
        "tokens": sum(map(len, segments)),
        "parts_computed": counts["chunks_saved"],
        "parts_declined": counts["chunks_declined"],
        "store_bytes": held_bytes,
        "seconds": time.perf_counter() - started_s,
        "gate_passed": gate is not None,
    }
    if as_json:
        print_json(report)
    else:
        _show(report)


def _parts(token_ids: Sequence[int]) -> list[Sequence[int]]:
    return [token_ids[start:end] for start, end in content_defined(token_ids)]


def _texts(file: Path, separator: str) -> Iterator[str]:
    try:
        content = file.read_text(encoding="utf-8")
        texts = json.loads(content) if file.suffix == ".json" else content.split(separator) if separator else [content]
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{file} cannot be read as text, or as JSON: {error}") from error
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InvalidRequest(f"{file} is no JSON list of texts")
    yield from (text for text in texts if text)


def _show(report: dict[str, float | bool]) -> None:
    print_line(
        f"{report['passages']} passages, {report['tokens']:,} tokens: {report['parts_computed']} parts computed in "
        f"{report['seconds']:.1f} s. The store holds {format_bytes(int(report['store_bytes']))}"
    )
    if report["parts_declined"]:
        print_line(
            f"{report['parts_declined']} parts found no room: raise memory.capacity_bytes or disk.capacity_bytes"
        )
    if not report["gate_passed"]:
        print_line("The model's gate has not been passed yet, so prompts are not blended: see `kvstore gate`")
