"""SendDown: copies what is admitted from the fastest tier to those below it, and what stands before it along."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

from kvstore.guard import Guard
from kvstore.key import ChunkKey
from kvstore.tier import Entry, Frame, Terms, Tier


class SendDown:
    """No chunk comes to a tier below without those before it in its prompt."""

    def __init__(self, tiers: Sequence[Tier], guard: Guard, entry: Callable[[ChunkKey], Entry | None]) -> None:
        """`entry` as the stack of these tiers gives it."""
        self._tiers, self._ask, self._entry = tiers, guard.ask, entry

    def __call__(
        self, prompt: Sequence[ChunkKey], start: int, num_admitted: int, put: Mapping[ChunkKey, Frame], terms: Terms
    ) -> int:
        """Admitted are so many chunks from `start` on; of the prompt, how many leading ones a tier below holds then."""
        before = self._before(prompt[0])
        num_wanted = len(before) + start + num_admitted if num_admitted else 0
        held = [self._fill(tier, [*before, *prompt], num_wanted, put, terms) for tier in self._tiers[1:]]
        return max(held, default=0) - len(before)

    def _before(self, key: ChunkKey) -> Sequence[ChunkKey]:
        """The chunks before this one in its prompt, as far as a tier knows them, the first one first."""
        before: deque[ChunkKey] = deque()
        while (entry := self._entry(before[0] if before else key)) is not None and entry.parent is not None:
            before.appendleft(entry.parent)
        return before

    def _fill(
        self, tier: Tier, prompt: Sequence[ChunkKey], num_wanted: int, put: Mapping[ChunkKey, Frame], terms: Terms
    ) -> int:
        """Puts what the tier lacks of the leading chunks, and anew what it holds of `put`; how many it holds then."""
        held = self._ask(tier, 0, tier.match, prompt)
        wanted = prompt[: max(num_wanted, held)]
        held = next((index for index, key in enumerate(wanted[:held]) if key in put), held)
        of_terms = groupby(self._at_hand(wanted[held:], put, terms), key=lambda chunk: chunk[2])
        for these, chunks in of_terms:
            entries = [(key, frame) for key, frame, _ in chunks]
            stored = self._ask(tier, 0, tier.put, entries, prompt[:held], these)
            held += stored
            if stored < len(entries):
                break
        return held

    def _at_hand(
        self, keys: Sequence[ChunkKey], put: Mapping[ChunkKey, Frame], terms: Terms
    ) -> Iterator[tuple[ChunkKey, Frame, Terms]]:
        """Leading chunks that are being put, or that the fastest tier holds."""
        fastest = self._tiers[0]
        for key in keys:
            entry = self._ask(fastest, None, fastest.entry, key)
            if key in put:
                yield key, put[key], terms
            elif entry is None or (frame := self._ask(fastest, None, fastest.get, key)) is None:
                return
            else:
                yield key, frame, entry.terms
