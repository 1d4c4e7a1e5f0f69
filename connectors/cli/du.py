"""`kvstore du`: what the chunks of each model, codec or tenant take, and what they would take as bfloat16."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer

from codec.spec import DTYPE_BYTES
from connectors.byte_size import format_bytes
from connectors.cli.options import JsonOption, PlaceOption
from connectors.cli.output import print_json, print_line, print_table, progress
from connectors.cli.place import open_reader, place_of
from connectors.inspection.holdings import Held, read_held
from connectors.settings import load_settings
from kvstore import DiskReader, Tier


class By(StrEnum):
    """What chunks are added up by."""

    MODEL = "model"
    CODEC = "codec"
    TENANT = "tenant"


_OF: dict[By, Callable[[Held], str]] = {
    By.MODEL: lambda chunk: chunk.model,
    By.CODEC: lambda chunk: chunk.codec,
    By.TENANT: lambda chunk: chunk.entry.terms.tenant,
}
_Group = tuple[str, ...]


@dataclass
class _Usage:
    """Sums over the chunks of one group."""

    chunks: int = 0
    tokens: int = 0
    size_bytes: int = 0
    bf16_bytes: int = 0
    """The same keys and values as plain bfloat16."""

    def add(self, chunk: Held) -> None:
        self.chunks += 1
        self.size_bytes += chunk.entry.size_bytes
        if chunk.header is not None:
            spec, num_tokens = chunk.header.spec, chunk.header.num_tokens
            self.tokens += num_tokens
            self.bf16_bytes += num_tokens * spec.bytes_per_token * DTYPE_BYTES["bfloat16"] // DTYPE_BYTES[spec.dtype]


def du(
    by: Annotated[
        list[By] | None, typer.Option(help="Add up by this; may be repeated. [default: model, codec]")
    ] = None,
    store: PlaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the store takes: bytes by model and codec, or tenant, per token against bfloat16, and on disk.

    `of bf16` is what the frames take of what the same keys and values would take as plain bfloat16. The
    files are larger than the frames: they keep the room of evicted ones for the next. The profiles that
    frames are coded with count in the total, not against the budget.

    Example: kvstore du --by tenant --by model
    """
    names = by or [By.MODEL, By.CODEC]
    place = place_of(store)
    budget_bytes = load_settings().disk.capacity_bytes if store is None else None
    with open_reader(place) as reader:
        usage = _usage(_headers(reader, as_json), names)
        profiles, profile_bytes = reader.profiles(), reader.profile_bytes
        file_bytes = reader.file_bytes if isinstance(reader, DiskReader) else None
    frame_bytes = sum(used.size_bytes for used in usage.values())
    if as_json:
        print_json(
            {
                "usage": [_as_json(names, group, used) for group, used in usage.items()],
                "profiles": profiles,
                "profile_bytes": profile_bytes,
                "size_bytes": frame_bytes + profile_bytes,
                "file_bytes": file_bytes,
                "budget_bytes": budget_bytes,
            }
        )
        return
    if usage:
        columns = [*names, "chunks>", "tokens>", "size>", "per token>", "of bf16>"]
        print_table(columns, [_row(group, used) for group, used in usage.items()])
    budget = "" if budget_bytes is None else f" of a budget of {format_bytes(budget_bytes)}"
    in_files = "" if file_bytes is None else f", in files of {format_bytes(file_bytes)}"
    of_profiles = _of_profiles(len(profiles), profile_bytes)
    print_line(f"{place}: frames of {format_bytes(frame_bytes)}{budget}{of_profiles}{in_files}.")


def _of_profiles(number: int, size_bytes: int) -> str:
    plural = "" if number == 1 else "s"
    return f", {number} profile{plural} of {format_bytes(size_bytes)}" if number else ""


def _headers(reader: Tier, hidden: bool) -> Iterable[Held]:
    entries = list(reader.entries())
    with progress(hidden) as bar:
        for entry in bar.track(entries, description="reading headers"):
            held = read_held(reader, entry)
            if held is not None:
                yield held


def _usage(chunks: Iterable[Held], names: Sequence[By]) -> dict[_Group, _Usage]:
    """By group, the largest first."""
    usage: dict[_Group, _Usage] = {}
    for chunk in chunks:
        usage.setdefault(tuple(_OF[name](chunk) for name in names), _Usage()).add(chunk)
    return dict(sorted(usage.items(), key=lambda item: -item[1].size_bytes))


def _row(group: _Group, used: _Usage) -> tuple[str, ...]:
    per_token = format_bytes(used.size_bytes // used.tokens) if used.tokens else ""
    of_bf16 = f"{used.size_bytes / used.bf16_bytes:.1%}" if used.bf16_bytes else ""
    return *group, str(used.chunks), str(used.tokens), format_bytes(used.size_bytes), per_token, of_bf16


def _as_json(names: Sequence[By], group: _Group, used: _Usage) -> dict[str, Any]:
    unknown = set() if used.tokens else {By.MODEL, By.CODEC}  # no header is whole
    return {
        **{str(name): None if name in unknown else value for name, value in zip(names, group, strict=True)},
        "chunks": used.chunks,
        "tokens": used.tokens,
        "size_bytes": used.size_bytes,
        "bf16_bytes": used.bf16_bytes,
    }
