"""`kvstore show`: everything about one chunk, and whether its frame is whole."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from datetime import datetime
from typing import Annotated

import typer

from codec import FrameHeader, LayerGroup
from connectors.byte_size import format_bytes
from connectors.cli.options import EXACT_KEY, JsonOption, PlaceOption
from connectors.cli.output import print_fields, print_json, print_table
from connectors.cli.place import open_reader, place_of
from connectors.inspection.chunk import Chunk, chunk_as_json, look_at, raw_bytes
from connectors.inspection.holdings import quality_of
from kvstore import ChunkTree

_SHOWN = 4  # how many of the chunks behind it are named


def show(
    key: Annotated[str, typer.Argument(metavar="KEY", help=EXACT_KEY)],
    store: PlaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one chunk: its frame's header, spec and sections, its size against the raw KV, its use, its neighbours.

    Reads and verifies the whole frame: the exit code is 1 when it is damaged.

    Example: kvstore show 3f9a0c12
    """
    place = place_of(store)
    with open_reader(place) as reader:
        chunk = look_at(reader, ChunkTree(reader.entries()), key)
    lives_in = f"{reader.name} {place}"
    if as_json:
        print_json(chunk_as_json(chunk, lives_in))
    else:
        _print(chunk, lives_in)
    if chunk.problem is not None:
        raise typer.Exit(1)


def _print(chunk: Chunk, lives_in: str) -> None:
    entry, header, profile = chunk.held.entry, chunk.held.header, chunk.profile
    children = ", ".join(str(child)[:12] for child in chunk.children[:_SHOWN])
    print_fields(
        [
            ("key", str(entry.key)),
            ("found by", chunk.digits),
            ("lives in", lives_in),
            *([("lies in", chunk.record)] if chunk.record else []),
            ("state", "whole: every checksum is right" if chunk.problem is None else f"DAMAGED: {chunk.problem}"),
            *(_header_fields(header, entry.size_bytes) if header else [("size", format_bytes(entry.size_bytes))]),
            *([] if profile is None else [("profile", f"{profile.fingerprint}, {profile.problem or 'held here'}")]),
            ("tenant", entry.terms.tenant or "none named"),
            ("parent", str(entry.parent) if entry.parent else "none: a prompt's first chunk"),
            ("behind it", f"{len(chunk.children)} held: {children}" if children else "nothing held"),
            ("pinned", "yes" if entry.pinned else "no"),
            ("expires", "never" if entry.terms.expires_at_s == math.inf else _time(entry.terms.expires_at_s)),
            ("hits", str(entry.hits)),
            ("saved", _time(entry.saved_at_s)),
            ("last used", _time(entry.used_at_s) if entry.hits else "never"),
        ]
    )
    if header:
        columns = ["layers", "KV heads>", "key dim>", "value dim>", "window>", "rotary"]
        print_table(columns, [_group_row(group) for group in header.spec.groups])
        print_table(["section", "dtype", "layers>", "size>", "share>"], _section_rows(header))


def _header_fields(header: FrameHeader, size_bytes: int) -> list[tuple[str, str]]:
    spec, unpacked_bytes = header.spec, raw_bytes(header)
    shard = f", shard {spec.tp_rank} of {spec.tp_size}" if spec.tp_size > 1 else ""
    raw = f"{format_bytes(unpacked_bytes)} of raw {spec.dtype}"
    return [
        ("model", f"{spec.model}, revision {spec.revision}{shard}"),
        ("spec", header.spec_fingerprint),
        ("tokens", f"[{header.start}, {header.end})"),
        ("codec", f"{header.codec} {json.dumps(header.codec_params)}"),
        ("quality", quality_of(header)),
        ("size", f"{format_bytes(size_bytes)} for {raw}: {unpacked_bytes / size_bytes:.2f} times smaller"),
    ]


def _group_row(group: LayerGroup) -> tuple[str, ...]:
    sizes = str(group.kv_heads), str(group.key_dim), str(group.value_dim), str(group.window or "all")
    return _ranges(group.layers), *sizes, json.dumps(group.rotary) if group.rotary else "none"


def _ranges(layers: tuple[int, ...]) -> str:
    """Half-open runs and single layers: "[0, 5) 6 8"."""
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and runs[-1][1] == layer:
            runs[-1][1] = layer + 1
        else:
            runs.append([layer, layer + 1])
    return " ".join(str(start) if end == start + 1 else f"[{start}, {end})" for start, end in runs)


def _section_rows(header: FrameHeader) -> list[tuple[str, ...]]:
    """One row per section name and dtype, summed over the layers; the JSON has each."""
    sizes: dict[tuple[str, str], list[int]] = defaultdict(list)
    for name, section in header.sections.items():
        sizes[name.split(".", 1)[-1], str(section.dtype)].append(section.end - section.start)
    total = sum(sum(of_layers) for of_layers in sizes.values())
    return [
        (name, dtype, str(len(of_layers)), format_bytes(sum(of_layers)), f"{sum(of_layers) / total:.1%}")
        for (name, dtype), of_layers in sizes.items()
    ]


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s).astimezone().isoformat(sep=" ", timespec="seconds")
