"""Which chunks of a store the options of a command choose."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from connectors.cli.holdings import find_entry, read_held
from connectors.cli.output import progress
from connectors.duration import parse_duration
from kvstore import ChunkKey, ChunkTree, DiskReader, EntryFilter, InvalidRequest


@dataclass(frozen=True)
class Choice:
    """The filters of a command line as they were given, None where one was not. All given ones must hold."""

    tenant: str | None = None
    model: str | None = None
    prefix: str | None = None
    unused_for: str | None = None
    older_than: str | None = None

    @property
    def is_empty(self) -> bool:
        return self == Choice()


def chosen(reader: DiskReader, tree: ChunkTree, choice: Choice, now_s: float, hidden: bool) -> set[ChunkKey]:
    """The keys of `tree` that the choice selects. Only `model` reads frames, their headers.

    Raises InvalidRequest on a duration or key that makes no sense.
    """
    entry_filter = EntryFilter(choice.tenant, _ago_s(choice.unused_for, now_s), _ago_s(choice.older_than, now_s))
    behind = None if choice.prefix is None else tree.with_all_behind([find_entry(reader, tree, choice.prefix).key])
    entries = tree.prefix_first(behind)
    keys = {entry.key for entry in entries if entry_filter.selects(entry)}
    return keys if choice.model is None else _of_model(reader, tree, keys, choice.model, hidden)


def _ago_s(age: str | None, now_s: float) -> float:
    try:
        return math.inf if age is None else now_s - parse_duration(age)
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def _of_model(
    reader: DiskReader, tree: ChunkTree, keys: Collection[ChunkKey], model: str, hidden: bool
) -> set[ChunkKey]:
    of_model = set()
    with progress(hidden) as bar:
        for entry in bar.track(list(tree.prefix_first(keys)), description="reading headers"):
            held = read_held(reader, entry)
            if held is not None and model in held.model:
                of_model.add(entry.key)
    return of_model
