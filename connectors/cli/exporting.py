"""`kvstore export`: chunks and the profiles they need, in one file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from codec import read_header
from connectors.byte_size import format_bytes
from connectors.cli.choose import Choice, chosen
from connectors.cli.holdings import open_reader, store_path
from connectors.cli.options import (
    JsonOption,
    ModelOption,
    OlderThanOption,
    PrefixOption,
    StoreOption,
    TenantOption,
    UnusedForOption,
)
from connectors.cli.output import counted, print_json, print_line, progress
from kvstore import ChunkTree, DiskReader, Entry, MissingProfile, frame_problem, profile_named
from kvstore.archive import ArchiveWriter


def export(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write; one that is there is replaced.")],
    tenant: TenantOption = None,
    model: ModelOption = None,
    prefix: PrefixOption = None,
    unused_for: UnusedForOption = None,
    older_than: OlderThanOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the chunks that fit every filter given (by default all), and those before them, to one file.

    The file is a plain zip of safetensors files and a manifest; `kvstore import` takes it into another
    store. Works while an engine writes the store: what is evicted meanwhile is left out. Damaged frames
    are left out too, and the exit code is then 1.

    Example: kvstore export acme.kv.zip --tenant acme
    """
    with open_reader(store_path(store)) as reader:
        tree = ChunkTree(reader.entries())
        keys = chosen(reader, tree, Choice(tenant, model, prefix, unused_for, older_than), time.time(), as_json)
        entries = list(tree.prefix_first(tree.with_all_before(keys)))
        exported, damaged, absent = _write(reader, entries, out, as_json)
    size_bytes = sum(entry.size_bytes for entry in exported)
    if as_json:
        print_json(
            {
                "file": str(out),
                "chunks": len(exported),
                "size_bytes": size_bytes,
                "damaged": {str(entry.key): problem for entry, problem in damaged.items()},
                "absent_profiles": absent,
            }
        )
    else:
        print_line(f"{out}: {counted(len(exported), 'chunk')} of {format_bytes(size_bytes)}.")
        for entry, problem in damaged.items():
            print_line(f"Left out, damaged: {str(entry.key)[:12]}: {problem}")
        for fingerprint in absent:
            print_line(f"The store does not have profile {fingerprint}, without which chunks cannot be decoded.")
    if damaged:
        raise typer.Exit(1)


def _write(
    reader: DiskReader, entries: list[Entry], out: Path, hidden: bool
) -> tuple[list[Entry], dict[Entry, str], list[str]]:
    """What was written, what was damaged and why, and which profiles the store does not have whole."""
    exported: list[Entry] = []
    damaged: dict[Entry, str] = {}
    needed: dict[str, None] = {}  # fingerprints, in the order they are met
    with ArchiveWriter(out) as archive, progress(hidden) as bar:
        task = bar.add_task("exporting", total=sum(entry.size_bytes for entry in entries))
        for entry in entries:
            frame = reader.get(entry.key)
            problem = None if frame is None else frame_problem(entry.key, frame)
            if problem is not None:
                damaged[entry] = problem
            elif frame is not None:
                archive.add_chunk(entry, frame)
                exported.append(entry)
                if fingerprint := _profile_of(frame):
                    needed[fingerprint] = None
            bar.advance(task, entry.size_bytes)
        absent = [fingerprint for fingerprint in needed if not _add_profile(archive, reader, fingerprint)]
    return exported, damaged, absent


def _profile_of(frame: memoryview) -> str | None:
    header = read_header(frame)
    return profile_named(header.codec, header.codec_params)


def _add_profile(archive: ArchiveWriter, reader: DiskReader, fingerprint: str) -> bool:
    try:
        content = reader.profile(fingerprint)
    except MissingProfile:
        return False
    if content is not None:
        archive.add_profile(fingerprint, content)
    return content is not None
