"""`kvstore import`: takes the chunks of an archive into a store, each one checked."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from connectors.archives.importing import Imported, import_archive, imported_as_json
from connectors.byte_size import format_bytes
from connectors.cli.options import JsonOption, PlaceOption
from connectors.cli.output import print_json, print_line, print_table, tracked
from connectors.cli.place import Place, create_writer, place_of
from connectors.counted import counted
from kvstore.archive import ArchiveReader


def import_chunks(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `kvstore export` wrote.")],
    store: PlaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take the chunks of an exported file into a store, which is made when it is not there.

    Every frame is verified; what is damaged, or lies behind a chunk that is neither in the file nor in the
    store, is skipped and named, and the exit code is 1. What has expired or is held already is skipped.
    Nothing is evicted to make room. No other process may be writing a directory; a remote store may have others.

    That a frame holds the KV of the tokens its key stands for cannot be checked: import only files of
    those you would take the model from.

    Example: kvstore import acme.kv.zip --store /data/kv
    """
    place = place_of(store)
    with ArchiveReader(file) as archive, create_writer(place) as writer:
        outcome = import_archive(archive, writer, time.time(), tracked("importing", as_json))
    if as_json:
        print_json(imported_as_json(outcome))
    else:
        _print(place, outcome)
    if outcome.problems:
        raise typer.Exit(1)


def _print(place: Place, outcome: Imported) -> None:
    taken = counted(len(outcome.imported), "chunk")
    print_line(f"{place}: {taken} of {format_bytes(outcome.imported_bytes)} imported.")
    if outcome.held:
        print_line(f"{outcome.held} were held already.")
    if outcome.expired:
        print_line(f"{outcome.expired} have expired.")
    if outcome.no_room:
        print_line(f"{outcome.no_room} do not fit: raise disk.capacity_bytes, or `kvstore evict` first.")
    for fingerprint in outcome.absent_profiles:
        print_line(f"Neither here nor in the file: profile {fingerprint}, which some of them are decoded with.")
    if outcome.problems:
        print_line(f"{len(outcome.problems)} parts of the file are skipped:")
        print_table(["part", "problem"], outcome.problems)
