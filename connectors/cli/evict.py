"""`kvstore evict`: deletes the chunks that filters select, and what lies behind them."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from connectors.byte_size import format_bytes
from connectors.cli.options import (
    JsonOption,
    ModelOption,
    OlderThanOption,
    PlaceOption,
    PrefixOption,
    TenantOption,
    UnusedForOption,
)
from connectors.cli.output import print_json, print_line, progress, tracked
from connectors.cli.place import Place, open_reader, open_writer, place_of
from connectors.counted import counted
from connectors.inspection.choice import Choice, chosen
from kvstore import ChunkKey, ChunkTree, Entry, InvalidRequest

_TOGETHER = 1000  # chunks deleted in one go


def evict(
    tenant: TenantOption = None,
    model: ModelOption = None,
    prefix: PrefixOption = None,
    unused_for: UnusedForOption = None,
    older_than: OlderThanOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Every chunk.")] = False,
    pinned: Annotated[bool, typer.Option("--pinned", help="Pinned chunks too; without it they stay.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    store: PlaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete the chunks that fit every filter given, and all that lies behind them, which nobody could reach.

    Asks first on a terminal. Pinned chunks stay, and those before them; --pinned takes them too. No other
    process may be writing a directory. An interrupted run leaves no chunk without its prefix.

    Example: kvstore evict --tenant acme --unused-for 7d --dry-run
    """
    choice = Choice(tenant, model, prefix, unused_for, older_than)
    if choice.is_empty and not everything:
        raise InvalidRequest(
            "evict needs a filter: --tenant, --model, --prefix, --unused-for or --older-than; or --all for everything"
        )
    place = place_of(store)
    with open_reader(place) as reader:
        tree = ChunkTree(reader.entries())
        selected = chosen(reader, tree, choice, time.time(), tracked("reading headers", as_json))
    doomed = _doomed(tree, selected, pinned)
    go = not dry_run and bool(doomed) and (yes or _confirmed(place, doomed))
    if go:
        doomed = _delete(place, selected, pinned, hidden=as_json)
    if as_json:
        print_json({"chunks": len(doomed), "size_bytes": _bytes_of(doomed), "deleted": go})
    else:
        done = "deleted" if go else "would be deleted" if dry_run else "fit, nothing is deleted"
        print_line(f"{place}: {_told(doomed)}: {done}.")


def _doomed(tree: ChunkTree, selected: set[ChunkKey], pinned: bool) -> list[Entry]:
    """Suffix before prefix."""
    keep = () if pinned else [entry.key for entry in tree.prefix_first() if entry.pinned]
    return list(tree.prefix_first(tree.deletable(selected, keep)))[::-1]


def _delete(place: Place, selected: set[ChunkKey], pinned: bool, hidden: bool) -> list[Entry]:
    """Deletes what is there of the selected chunks now that nobody else writes; returns what that was."""
    with open_writer(place) as writer, progress(hidden) as bar:
        doomed = _doomed(ChunkTree(writer.entries()), selected, pinned)
        task = bar.add_task("deleting", total=len(doomed))
        for start in range(0, len(doomed), _TOGETHER):
            together = [entry.key for entry in doomed[start : start + _TOGETHER]]
            bar.advance(task, writer.delete_all(together))
    return doomed


def _confirmed(place: Place, doomed: list[Entry]) -> bool:
    """Only a terminal is asked; a program that got here meant it."""
    return not _is_terminal() or typer.confirm(f"Delete {_told(doomed)} of {place}?", err=True)


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _told(entries: list[Entry]) -> str:
    return f"{counted(len(entries), 'chunk')} of {format_bytes(_bytes_of(entries))}"


def _bytes_of(entries: list[Entry]) -> int:
    return sum(entry.size_bytes for entry in entries)
