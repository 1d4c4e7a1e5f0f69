"""Which chunks of a store several filters choose together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from connectors.duration import parse_duration
from connectors.inspection.holdings import find_entry, read_held
from kvstore import ChunkKey, ChunkTree, Entry, EntryFilter, InvalidRequest, Tier


@dataclass(frozen=True)
class Choice:
    """The filters as somebody gave them, None where one was not given. All given ones must hold."""

    tenant: str | None = None
    model: str | None = None
    prefix: str | None = None
    unused_for: str | None = None
    older_than: str | None = None

    @property
    def is_empty(self) -> bool:
        return self == Choice()


def chosen(
    tier: Tier,
    tree: ChunkTree,
    choice: Choice,
    now_s: float,
    tracked: Callable[[Sequence[Entry]], Iterable[Entry]] = iter,
) -> set[ChunkKey]:
    """The keys of `tree` that the choice selects. Only `model` reads frames: the headers of those `tracked` gives out.

    Raises InvalidRequest on a duration or key that makes no sense.
    """
    entry_filter = EntryFilter(choice.tenant, _ago_s(choice.unused_for, now_s), _ago_s(choice.older_than, now_s))
    behind = None if choice.prefix is None else tree.with_all_behind([find_entry(tier, tree, choice.prefix).key])
    entries = tree.prefix_first(behind)
    keys = {entry.key for entry in entries if entry_filter.selects(entry)}
    if choice.model is None:
        return keys
    return {entry.key for entry in tracked(list(tree.prefix_first(keys))) if _is_of(tier, entry, choice.model)}


def _ago_s(age: str | None, now_s: float) -> float:
    try:
        return math.inf if age is None else now_s - parse_duration(age)
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def _is_of(tier: Tier, entry: Entry, model: str) -> bool:
    held = read_held(tier, entry)
    return held is not None and model in held.model
