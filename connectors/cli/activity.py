"""What happens in a store between two looks at it: saved and loaded by model and tenant, the hottest prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from connectors.cli.place import open_reader
from connectors.inspection.prefixes import Prefix, hottest, model_in
from kvstore import ChunkKey, ChunkTree, Entry, Tier


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
class Look:
    """A store at one moment; `evicted` counts what went since the look before."""

    chunks: int
    size_bytes: int
    evicted: int
    activity: list[Activity]
    """The busiest first; empty at the first look."""
    hottest: list[Prefix]


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
                hottest(tree, self._num_hottest, lambda first: self._model(reader, first)),
            )
        self._hits_before = hits
        self._models = {key: model for key, model in self._models.items() if key.digest in hits}
        return look

    def _activity(
        self, reader: Tier, tree: ChunkTree, changed: Sequence[Entry], before: Mapping[bytes, int]
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

    def _model(self, reader: Tier, first: Entry) -> str:
        if first.key not in self._models:
            self._models[first.key] = model_in(reader, first)
        return self._models[first.key]
