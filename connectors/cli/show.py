"""`kvstore show`: everything about one chunk, and whether its frame is whole."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any

import typer

from codec import FrameHeader, LayerGroup
from connectors.byte_size import format_bytes
from connectors.cli.holdings import (
    Held,
    find_entry,
    open_reader,
    profile_problem,
    quality_of,
    read_held,
    store_path,
    terms_as_json,
    unique_digits,
)
from connectors.cli.options import EXACT_KEY, JsonOption, StoreOption
from connectors.cli.output import print_fields, print_json, print_table
from kvstore import ChunkKey, ChunkTree, DiskReader, InvalidRequest, frame_problem, profile_named

_SHOWN = 4  # how many of the chunks behind it are named


@dataclass(frozen=True)
class _Profile:
    """What a chunk is decoded with, and why this store's directory does not have it, if so."""

    fingerprint: str
    problem: str | None


@dataclass(frozen=True)
class _Place:
    """Where a chunk lives and its frame lies, by how many digits it is found, and which chunks are right behind it."""

    tier: str
    record: str | None
    digits: str
    children: list[ChunkKey]


def show(
    key: Annotated[str, typer.Argument(metavar="KEY", help=EXACT_KEY)],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one chunk: its frame's header, spec and sections, its size against the raw KV, its use, its neighbours.

    Reads and verifies the whole frame: the exit code is 1 when it is damaged.

    Example: kvstore show 3f9a0c12
    """
    path = store_path(store)
    with open_reader(path) as reader:
        tree = ChunkTree(reader.entries())
        entry = find_entry(reader, tree, key)
        chunk, frame = read_held(reader, entry), reader.get(entry.key)
        if chunk is None or frame is None:
            raise InvalidRequest(f"chunk {entry.key} was evicted while it was looked at")
        profile, record = _profile_of(reader, chunk), reader.where(entry.key)
    problem = frame_problem(entry.key, frame)
    place = _Place(f"{reader.name} {path}", record, unique_digits(tree, entry.key), tree.children(entry.key))
    if as_json:
        print_json(_as_json(chunk, place, problem, profile))
    else:
        _print(chunk, place, problem, profile)
    if problem is not None:
        raise typer.Exit(1)


def _profile_of(reader: DiskReader, chunk: Held) -> _Profile | None:
    header = chunk.header
    fingerprint = None if header is None else profile_named(header.codec, header.codec_params)
    return None if fingerprint is None else _Profile(fingerprint, profile_problem(reader, fingerprint))


def _print(chunk: Held, place: _Place, problem: str | None, profile: _Profile | None) -> None:
    entry, header = chunk.entry, chunk.header
    children = ", ".join(str(child)[:12] for child in place.children[:_SHOWN])
    print_fields(
        [
            ("key", str(entry.key)),
            ("found by", place.digits),
            ("lives in", place.tier),
            *([("lies in", place.record)] if place.record else []),
            ("state", "whole: every checksum is right" if problem is None else f"DAMAGED: {problem}"),
            *(_header_fields(header, entry.size_bytes) if header else [("size", format_bytes(entry.size_bytes))]),
            *([] if profile is None else [("profile", f"{profile.fingerprint}, {profile.problem or 'held here'}")]),
            ("tenant", entry.terms.tenant or "none named"),
            ("parent", str(entry.parent) if entry.parent else "none: a prompt's first chunk"),
            ("behind it", f"{len(place.children)} held: {children}" if children else "nothing held"),
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
    spec, raw_bytes = header.spec, _raw_bytes(header)
    shard = f", shard {spec.tp_rank} of {spec.tp_size}" if spec.tp_size > 1 else ""
    raw = f"{format_bytes(raw_bytes)} of raw {spec.dtype}"
    return [
        ("model", f"{spec.model}, revision {spec.revision}{shard}"),
        ("spec", header.spec_fingerprint),
        ("tokens", f"[{header.start}, {header.end})"),
        ("codec", f"{header.codec} {json.dumps(header.codec_params)}"),
        ("quality", quality_of(header)),
        ("size", f"{format_bytes(size_bytes)} for {raw}: {raw_bytes / size_bytes:.2f} times smaller"),
    ]


def _raw_bytes(header: FrameHeader) -> int:
    return header.num_tokens * header.spec.bytes_per_token


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


def _as_json(chunk: Held, place: _Place, problem: str | None, profile: _Profile | None) -> dict[str, Any]:
    entry, header = chunk.entry, chunk.header
    return {
        "key": str(entry.key),
        "digits": place.digits,
        "lives_in": place.tier,
        "lies_in": place.record,
        "parent": str(entry.parent) if entry.parent else None,
        "children": [str(child) for child in place.children],
        **terms_as_json(entry),
        "problem": problem,
        "size_bytes": entry.size_bytes,
        "hits": entry.hits,
        "saved_at_s": entry.saved_at_s,
        "used_at_s": entry.used_at_s,
        "profile": None if profile is None else asdict(profile),
        "header": _header_as_json(header) if header else None,
    }


def _header_as_json(header: FrameHeader) -> dict[str, Any]:
    sections = {
        name: {"dtype": str(section.dtype), "shape": list(section.shape), "size_bytes": section.end - section.start}
        for name, section in header.sections.items()
    }
    return {
        "start": header.start,
        "end": header.end,
        "codec": header.codec,
        "codec_params": dict(header.codec_params),
        "quality": quality_of(header),
        "raw_bytes": _raw_bytes(header),
        "spec_fingerprint": header.spec_fingerprint,
        "spec": json.loads(header.spec_json),
        "sections": sections,
    }
