"""`kvstore pin` and `kvstore unpin`: which chunks stay however full the store gets."""

from __future__ import annotations

from typing import Annotated

import typer

from connectors.byte_size import format_bytes
from connectors.cli.options import EXACT_KEY, JsonOption, StoreOption
from connectors.cli.output import print_json, print_line
from connectors.cli.place import open_reader, open_writer, store_path
from connectors.counted import counted
from connectors.inspection.holdings import find_entry
from kvstore import ChunkKey, ChunkTree, InvalidRequest, Tier

KeysArgument = Annotated[list[str], typer.Argument(metavar="KEY...", help=EXACT_KEY)]


def pin(keys: KeysArgument, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Keep chunks, and all before them, from being evicted to make room.

    Time and damage take pinned chunks like all others, and so does `kvstore evict --pinned`. They count
    against the budget. No other process may be writing the store.

    Example: kvstore pin 3f9a0c12
    """
    path = store_path(store)
    named = _named(keys, store)
    with open_writer(path) as writer:
        tree = ChunkTree(writer.entries())
        for key in named:
            if not tree.reachable(key):
                raise InvalidRequest(f"chunk {key} is of no use: a chunk before it is not held")
            writer.pin([entry.key for entry in tree.path(key)])
        _report(writer, as_json)


def unpin(keys: KeysArgument, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Let chunks be evicted again: these, those behind them, and those before that no other pin needs.

    Example: kvstore unpin 3f9a0c12
    """
    path = store_path(store)
    named = _named(keys, store)
    with open_writer(path) as writer:
        for key in named:
            for freed in ChunkTree(writer.entries()).freed_by_unpinning(key):
                writer.pin([freed], pinned=False)
        _report(writer, as_json)


def _named(keys: list[str], store: StoreOption) -> list[ChunkKey]:
    with open_reader(store_path(store)) as reader:
        tree = ChunkTree(reader.entries())
        return [find_entry(reader, tree, key).key for key in keys]


def _report(tier: Tier, as_json: bool) -> None:
    pinned = [entry for entry in tier.entries() if entry.pinned]
    size_bytes = sum(entry.size_bytes for entry in pinned)
    if as_json:
        print_json({"pinned": [str(entry.key) for entry in pinned], "size_bytes": size_bytes})
    else:
        print_line(f"Pinned now: {counted(len(pinned), 'chunk')} of {format_bytes(size_bytes)}.")
