"""What happens in a store between two looks at it: saved and loaded by model and tenant, the hottest prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from pathlib import Path

from connectors.cli.holdings import open_reader, read_held
from kvstore import ChunkKey, ChunkTree, DiskReader, Entry


@dataclass
class Activity:
    """Of one model and tenant, since the look before."""

    model: str
    tenant: str
    saved: int = 0
    saved_bytes: int = 0
    loaded: int = 0
    """How often a chunk was loaded, as far as the store has written it down."""


@dataclass(frozen=True)
class HotPrompt:
    """A first chunk, how often it was loaded, and what is held with it and behind it."""

    key: ChunkKey
    model: str
    tenant: str
    hits: int
    chunks: int
    size_bytes: int


@dataclass(frozen=True)
class Look:
    """A store at one moment; `evicted` counts what went since the look before."""

    chunks: int
    size_bytes: int
    evicted: int
    activity: list[Activity]
    """The busiest first; empty at the first look."""
    hottest: list[HotPrompt]


class Watcher:
    """Looks at a store again and again. A look takes time in proportion to the chunks held (see `kvstore top`).

    Of frames it reads the headers of first chunks only, and each once: a prompt is of one model.
    """

    def __init__(self, path: Path, num_hottest: int) -> None:
        self._path, self._num_hottest = path, num_hottest
        self._hits_before: dict[bytes, int] | None = None  # by digest, which hashes sooner than a ChunkKey
        self._models: dict[ChunkKey, str] = {}

    def look(self) -> Look:
        """Raises TierUnavailable when there is no store any more."""
        with open_reader(self._path) as reader:
            entries = list(reader.entries())
            hits = {entry.key.digest: entry.hits for entry in entries}
            before = hits if self._hits_before is None else self._hits_before
            changed = [entry for entry in entries if before.get(entry.key.digest) != entry.hits]
            tree = ChunkTree(entries)
            look = Look(
                len(entries),
                sum(entry.size_bytes for entry in entries),
                len(before.keys() - hits.keys()),
                self._activity(reader, tree, changed, before),
                self._hottest(reader, tree),
            )
        self._hits_before = hits
        self._models = {key: model for key, model in self._models.items() if key.digest in hits}
        return look

    def _activity(
        self, reader: DiskReader, tree: ChunkTree, changed: Sequence[Entry], before: Mapping[bytes, int]
    ) -> list[Activity]:
        found: dict[tuple[str, str], Activity] = {}
        for entry in changed:
            group = self._model(reader, tree.path(entry.key)[0]), entry.terms.tenant
            of_group = found.setdefault(group, Activity(*group))
            of_group.loaded += max(entry.hits - before.get(entry.key.digest, 0), 0)
            if entry.key.digest not in before:
                of_group.saved += 1
                of_group.saved_bytes += entry.size_bytes
        return sorted(found.values(), key=lambda activity: -(activity.saved + activity.loaded))

    def _hottest(self, reader: DiskReader, tree: ChunkTree) -> list[HotPrompt]:
        firsts = (entry for entry in tree.firsts() if entry.hits)
        return [
            self._prompt(reader, tree, first)
            for first in nlargest(self._num_hottest, firsts, key=lambda entry: (entry.hits, entry.used_at_s))
        ]

    def _prompt(self, reader: DiskReader, tree: ChunkTree, first: Entry) -> HotPrompt:
        behind = tree.with_all_behind([first.key])
        size_bytes = sum(entry.size_bytes for entry in map(tree.entry, behind) if entry)
        model, tenant = self._model(reader, first), first.terms.tenant
        return HotPrompt(first.key, model, tenant, first.hits, len(behind), size_bytes)

    def _model(self, reader: DiskReader, first: Entry) -> str:
        if first.key not in self._models:
            held = read_held(reader, first)
            self._models[first.key] = held.model if held else "(gone)"
        return self._models[first.key]
