"""Library: a tenant's segments in a store, found by their tokens and put where a prompt has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from blend.arriving import Arriving
from blend.segment import Layout, identity_of_segment
from codec import KVArray
from kvstore import Identity, KVStore, PrefixMatch, Saved


@dataclass(frozen=True)
class Found:
    """A segment of a prompt that was held when it was asked for."""

    start: int
    end: int
    match: PrefixMatch


class Library:
    """Segments computed behind the same few tokens. Safe in threads."""

    def __init__(self, store: KVStore, identity: Identity, behind: Sequence[int] = ()) -> None:
        """`identity` is whose they are; `behind` the token ids that stand before a segment while it is computed."""
        self._store, self._identity, self.behind = store, identity, tuple(behind)

    def _store_and_identity(self, num_tokens: int) -> tuple[KVStore, Identity]:
        return self._store.in_chunks_of(num_tokens), identity_of_segment(self._identity, num_tokens, self.behind)

    def save(self, token_ids: Sequence[int], kv: KVArray) -> Saved:
        """Stores a segment, whose KV was computed behind `behind`. Raises as `KVStore.save`."""
        store, identity = self._store_and_identity(len(token_ids))
        return store.save_chunks(identity, token_ids, [kv])

    def find(self, layout: Layout, start: int = 0) -> list[Found]:
        """Which of the prompt's segments are held now, of those that begin at `start` or later."""
        found = []
        for first, end in layout.cut().segments:
            if first >= start:
                store, identity = self._store_and_identity(end - first)
                match = store.match(identity, layout.tokens((first, end)))
                if match.keys:
                    found.append(Found(first, end, match))
        return found

    def missing(self, layout: Layout) -> list[tuple[int, int]]:
        """The prompt's segments that are not held now."""
        held = {(found.start, found.end) for found in self.find(layout)}
        return [segment for segment in layout.cut().segments if segment not in held]

    def loading_s(self, found: Sequence[Found]) -> float:
        """Seconds to expect until these are loaded, one after the other; 0 for what was not measured yet."""
        return sum(self._store_of(segment).loading_s(segment.match) for segment in found)

    def begin(self, found: Sequence[Found], kv: KVArray) -> tuple[Arriving, torch.Tensor]:
        """Has segments put where they belong in a prompt's KV, keys for these places, layer by layer.

        Also returns, int64 `[token]`, how many tokens of its segment stand before a token that comes, and -1 for the
        others: what was found and is gone, or damaged, is computed like any new text.
        """
        into_segment = torch.full((kv.num_tokens,), -1, device=kv.device)
        coming = []
        for segment in found:
            room = kv.tokens(segment.start, segment.end)
            layers = self._store_of(segment).load_layers(segment.match, room, segment.start)
            if layers is not None:
                coming.append(layers)
                into_segment[segment.start : segment.end] = torch.arange(room.num_tokens, device=kv.device)
        return Arriving(coming, kv.spec.num_layers, kv.device), into_segment

    def _store_of(self, segment: Found) -> KVStore:
        return self._store.in_chunks_of(segment.end - segment.start)
