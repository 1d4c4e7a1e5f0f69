"""A list of the chunks that are held: which ones, in which order, and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

from connectors.inspection.holdings import Held, read_held, terms_as_json
from kvstore import ChunkKey, ChunkTree, Entry, Tier


class SortBy(StrEnum):
    """What comes first."""

    AGE = "age"
    SIZE = "size"
    HITS = "hits"
    USED = "used"


_ORDERS: dict[SortBy, Callable[[Entry], tuple[float, float]]] = {
    SortBy.AGE: lambda entry: (-entry.saved_at_s, -entry.used_at_s),
    SortBy.SIZE: lambda entry: (-entry.size_bytes, -entry.used_at_s),
    SortBy.HITS: lambda entry: (-entry.hits, -entry.used_at_s),
    SortBy.USED: lambda entry: (-entry.used_at_s, -entry.saved_at_s),
}


def listed(
    tier: Tier, sort: SortBy, wanted: Callable[[Entry], bool], shown: Callable[[Held], bool] = lambda chunk: True
) -> Iterator[Held]:
    """The chunks `wanted` that are `shown` too, in order. The headers of those given out are read, one by one."""
    for entry in sorted(filter(wanted, tier.entries()), key=_ORDERS[sort]):
        held = read_held(tier, entry)
        if held is not None and shown(held):
            yield held


def heads(tier: Tier, tree: ChunkTree) -> dict[ChunkKey, Held]:
    """Of every chunk's prompt the first chunk held whose header is sound: they all are of its model and codec.

    So that of many chunks few headers are read.
    """
    found: dict[ChunkKey, Held] = {}
    for entry in tree.prefix_first():
        before = None if entry.parent is None else found.get(entry.parent)
        head = before if before is not None and before.header is not None else read_held(tier, entry)
        if head is not None:
            found[entry.key] = head
    return found


def listed_as_json(chunk: Held) -> dict[str, Any]:
    """What is listed of it; null where its header is damaged."""
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
        **terms_as_json(entry),
        "damaged": header is None,
    }
