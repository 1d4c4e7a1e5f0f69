"""`kvstore export`: chunks and the profiles they need, in one file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from connectors.archives.exporting import Exported, export_chunks
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
from connectors.cli.output import print_json, print_line, tracked
from connectors.cli.place import open_reader, place_of
from connectors.counted import counted
from connectors.inspection.choice import Choice, chosen
from kvstore import ChunkTree
from kvstore.archive import write_archive


def export(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write; one that is there is replaced.")],
    tenant: TenantOption = None,
    model: ModelOption = None,
    prefix: PrefixOption = None,
    unused_for: UnusedForOption = None,
    older_than: OlderThanOption = None,
    store: PlaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the chunks that fit every filter given (by default all), and those before them, to one file.

    The file is a plain zip of safetensors files and a manifest; `kvstore import` takes it into another
    store. Works while an engine writes the store: what is evicted meanwhile is left out. Damaged frames
    are left out too, and the exit code is then 1.

    Example: kvstore export acme.kv.zip --tenant acme
    """
    choice, exported = Choice(tenant, model, prefix, unused_for, older_than), Exported()
    with open_reader(place_of(store)) as reader:
        tree = ChunkTree(reader.entries())
        keys = chosen(reader, tree, choice, time.time(), tracked("reading headers", as_json))
        entries = tracked("exporting", as_json)(list(tree.prefix_first(tree.with_all_before(keys))))
        with write_archive(out) as archive:
            for _ in export_chunks(reader, entries, archive, exported):
                pass
    size_bytes = sum(entry.size_bytes for entry in exported.chunks)
    if as_json:
        print_json(
            {
                "file": str(out),
                "chunks": len(exported.chunks),
                "size_bytes": size_bytes,
                "damaged": {str(entry.key): problem for entry, problem in exported.damaged.items()},
                "absent_profiles": exported.absent_profiles,
            }
        )
    else:
        print_line(f"{out}: {counted(len(exported.chunks), 'chunk')} of {format_bytes(size_bytes)}.")
        for entry, problem in exported.damaged.items():
            print_line(f"Left out, damaged: {str(entry.key)[:12]}: {problem}")
        for fingerprint in exported.absent_profiles:
            print_line(f"The store does not have profile {fingerprint}, without which chunks cannot be decoded.")
    if exported.damaged:
        raise typer.Exit(1)
