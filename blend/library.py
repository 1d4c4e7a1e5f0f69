"""Library: a tenant's segments in a store, found by their tokens and put where a prompt has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

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

    def load(self, found: Sequence[Found], kv: KVArray) -> torch.Tensor:
        """Puts segments where they belong in a prompt's KV, keys for these places.

        Returns, int64 `[token]`, how many tokens of its segment stand before a token that was delivered, and -1 for
        the others: what was found and is gone, or damaged, is computed like any new text.
        """
        into_segment = torch.full((kv.num_tokens,), -1, device=kv.device)
        for segment in found:
            store, _ = self._store_and_identity(segment.end - segment.start)
            room = kv.tokens(segment.start, segment.end)
            if store.load_chunks(segment.match, [room], to=segment.start):
                into_segment[segment.start : segment.end] = torch.arange(room.num_tokens, device=kv.device)
        return into_segment
