"""`kvstore ls`: the chunks a store holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any

import typer

from connectors.byte_size import format_bytes
from connectors.cli.holdings import Held, open_reader, read_held, store_path
from connectors.cli.options import JsonOption, StoreOption
from connectors.cli.output import format_age, print_json, print_line, print_table
from kvstore import DiskReader, Entry


class SortBy(StrEnum):
    """What comes first."""

    AGE = "age"
    SIZE = "size"
    HITS = "hits"


_ORDERS: dict[SortBy, Callable[[Entry], tuple[float, float]]] = {
    SortBy.AGE: lambda entry: (-entry.saved_at_s, -entry.used_at_s),
    SortBy.SIZE: lambda entry: (-entry.size_bytes, -entry.used_at_s),
    SortBy.HITS: lambda entry: (-entry.hits, -entry.used_at_s),
}


def ls(
    store: StoreOption = None,
    model: Annotated[str | None, typer.Option(metavar="M", help="Only chunks of models with M in their name.")] = None,
    sort: Annotated[SortBy, typer.Option(help="The newest, the largest or the most used first.")] = SortBy.AGE,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="At most N chunks.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the chunks held: key, model, tokens [start, end), codec, size, hits, age.

    A chunk is the KV of a fixed number of prompt tokens; its key stands for these tokens and all before
    them, the model, the tenant and the codec. What the tokens and the tenant were cannot be read from it.

    Example: kvstore ls --model SmolLM2 --sort hits --limit 10
    """
    path = store_path(store)
    with open_reader(path) as reader:
        chunks = list(islice(_chunks(reader, model or "", sort), limit))
    if as_json:
        print_json([_as_json(chunk) for chunk in chunks])
    elif chunks:
        now_s = time.time()
        columns = ["key", "model", "tokens", "codec", "size>", "hits>", "age>"]
        print_table(columns, [_row(chunk, now_s) for chunk in chunks])
    else:
        print_line(f"The store in {path} holds no chunks{f' of {model}' if model else ''}.")


def _chunks(reader: DiskReader, model: str, sort: SortBy) -> Iterator[Held]:
    for entry in sorted(reader.entries(), key=_ORDERS[sort]):
        held = read_held(reader, entry)
        if held is not None and model in held.model:
            yield held


def _row(chunk: Held, now_s: float) -> tuple[str, ...]:
    entry, header = chunk.entry, chunk.header
    tokens = f"[{header.start}, {header.end})" if header else ""
    age, size = format_age(now_s - entry.saved_at_s), format_bytes(entry.size_bytes)
    return str(entry.key)[:12], chunk.model, tokens, chunk.codec, size, str(entry.hits), age


def _as_json(chunk: Held) -> dict[str, Any]:
    entry, header = chunk.entry, chunk.header
    return {
        "key": str(entry.key),
        "model": chunk.model if header else None,
        "start": header.start if header else None,
        "end": header.end if header else None,
        "codec": header.codec if header else None,
        "size_bytes": entry.size_bytes,
        "hits": entry.hits,
        "saved_at_s": entry.saved_at_s,
        "used_at_s": entry.used_at_s,
        "damaged": header is None,
    }
