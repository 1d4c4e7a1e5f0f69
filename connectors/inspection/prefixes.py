"""Prefixes: the first chunks of prompts, each with all that is held behind it; the hottest and the largest ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import nlargest

from connectors.inspection.holdings import read_held
from kvstore import ChunkKey, ChunkTree, Entry, Tier

ModelOf = Callable[[Entry], str]
"""Which model a first chunk is of."""


@dataclass(frozen=True)
class Prefix:
    """A first chunk, how often it was loaded, and what is held with it and behind it."""

    key: ChunkKey
    model: str
    tenant: str
    hits: int
    chunks: int
    size_bytes: int


def hottest(tree: ChunkTree, most: int, model_of: ModelOf) -> list[Prefix]:
    """At most that many, of those that were ever loaded."""
    loaded = (entry for entry in tree.firsts() if entry.hits)
    firsts = nlargest(most, loaded, key=lambda entry: (entry.hits, entry.used_at_s))
    return [_prefix(tree, first, model_of) for first in firsts]


def largest(tree: ChunkTree, most: int, model_of: ModelOf) -> list[Prefix]:
    """At most that many. Looks at every chunk once."""
    sized = ((_behind(tree, first)[1], first) for first in tree.firsts())
    return [_prefix(tree, first, model_of) for _, first in nlargest(most, sized, key=lambda pair: pair[0])]


def model_in(tier: Tier, first: Entry) -> str:
    """As the header of its frame says."""
    held = read_held(tier, first)
    return held.model if held else "(gone)"


def _prefix(tree: ChunkTree, first: Entry, model_of: ModelOf) -> Prefix:
    chunks, size_bytes = _behind(tree, first)
    return Prefix(first.key, model_of(first), first.terms.tenant, first.hits, chunks, size_bytes)


def _behind(tree: ChunkTree, first: Entry) -> tuple[int, int]:
    """How many chunks there are, this one among them, and their bytes."""
    behind = tree.with_all_behind([first.key])
    return len(behind), sum(entry.size_bytes for entry in map(tree.entry, behind) if entry)
