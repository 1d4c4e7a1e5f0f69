"""Tiers: a Tier made of Tiers, fastest first. Promotion, write-through and prefetch happen here and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch

from codec import DeviceFrame
from kvstore.admission import Admission
from kvstore.background import Background
from kvstore.breaker import Breaker
from kvstore.cost import CostModel
from kvstore.errors import MissingProfile
from kvstore.guard import Guard
from kvstore.key import ChunkKey
from kvstore.metrics import Metrics
from kvstore.send_down import SendDown
from kvstore.tier import NO_TERMS, Entry, Frame, InFile, Terms, Tier
from kvstore.tier_state import TierState, TierUse

Read = TypeVar("Read", memoryview, DeviceFrame)


class Tiers(Tier):
    """A frame found in a slow tier is copied to the faster ones; a put goes to every tier.

    With an `admission` it goes to the fastest one, and below it only what is admitted, when it is, together with
    all that stands before it. What the fastest drops earlier is gone.

    A tier that is unavailable is skipped (`kvstore.guard`).
    """

    name = "tiers"

    def __init__(
        self,
        tiers: Sequence[Tier],
        metrics: Metrics | None = None,
        admission: Admission | None = None,
        cost: CostModel | None = None,
        breaker: Callable[[], Breaker] = Breaker,
    ) -> None:
        """`cost` is told how long every frame took. `breaker` makes one, closed."""
        self.tiers, self._admission = tuple(tiers), admission
        self._metrics, self._cost = metrics or Metrics(), cost or CostModel()
        guard = Guard(self.tiers, self._metrics, breaker)
        self._ask, self._send_down = guard.ask, SendDown(self.tiers, guard, self.entry)
        self.open_breakers = guard.open_breakers
        self._uses = {tier: TierUse() for tier in self.tiers}
        self.background = Background()
        self._spared: Iterable[ChunkKey] = ()

    def match(self, keys: Sequence[ChunkKey]) -> int:
        return sum(held for _, held in self.runs(keys))

    def runs(self, keys: Sequence[ChunkKey]) -> list[tuple[str, int]]:
        """The leading keys that are held, run by run: a tier's name, and how many of those that follow it holds.

        Metadata only, as `match`.
        """
        runs: list[tuple[str, int]] = []
        held, before = 0, -1
        while before < held < len(keys):
            is_first_time, before = before < 0, held
            for tier in self.tiers:
                more = self._ask(tier, 0, tier.match, keys[held:])
                self._uses[tier].matched(len(keys) - held if is_first_time else 0, more)
                if more:
                    runs.append((tier.name, more))
                    held += more
        return runs

    def get(self, key: ChunkKey) -> memoryview | None:
        found = self.get_from(key)
        return None if found is None else found[1]

    def get_from(self, key: ChunkKey) -> tuple[str, memoryview] | None:
        """As `get`, with the name of the tier that gave it."""
        depth, frame = self._first(lambda tier: tier.get, key)
        if frame is None:
            return None
        if depth:
            self._promote(key, frame, self.tiers[depth], self.tiers[:depth])
        return self.tiers[depth].name, frame

    def get_fastest(self, key: ChunkKey) -> memoryview | None:
        """From the fastest tier alone."""
        started_s = time.perf_counter()
        frame = self.tiers[0].get(key)
        if frame is not None:
            self._uses[self.tiers[0]].latencies.note(time.perf_counter() - started_s)
        return frame

    def peek(self, key: ChunkKey, num_bytes: int) -> memoryview | None:
        """From the fastest tier that holds it; nothing is promoted."""
        return self._first(lambda tier: tier.peek, key, num_bytes)[1]

    def get_on_device(self, key: ChunkKey, device: torch.device) -> DeviceFrame | None:
        return self._first(lambda tier: tier.get_on_device, key, device)[1]

    def _first(self, reading: Callable[[Tier], Callable[..., Read | None]], *arguments: Any) -> tuple[int, Read | None]:
        """What the fastest tier gives that has it, and which one that is; what that took is measured."""
        for depth, tier in enumerate(self.tiers):
            started_s = time.perf_counter()
            found = self._ask(tier, None, reading(tier), *arguments)
            if found is not None:
                took_s = time.perf_counter() - started_s
                self._cost.got(tier.name, len(found), took_s)
                self._uses[tier].latencies.note(took_s)
                return depth, found
        return 0, None

    def prefetch(self, keys: Sequence[ChunkKey]) -> int:
        """Copies frames to the fastest tier in the background; how many of the leading ones will be looked at.

        Never blocks: when much is under way already, the rest is dropped and counted.
        """
        if len(self.tiers) < 2:
            return 0
        jobs = (self.background.submit(partial(self._prefetch, key)) for key in keys)
        accepted = next((index for index, taken in enumerate(jobs) if not taken), len(keys))
        self._metrics.count("prefetches_dropped", len(keys) - accepted)
        return accepted

    def _prefetch(self, key: ChunkKey) -> None:
        fastest = self.tiers[0]
        if not self._ask(fastest, 1, fastest.match, [key]) and self.get(key) is not None:
            self._metrics.count("chunks_prefetched")

    def _promote(self, key: ChunkKey, frame: Frame, of: Tier, faster: Sequence[Tier]) -> None:
        entry = self._ask(of, None, of.entry, key)
        if entry is not None:
            for tier in faster:
                prefix = [entry.parent] if entry.parent else []
                self._ask(tier, 0, tier.put, [(key, frame)], prefix, entry.terms)

    def put(
        self, entries: Sequence[tuple[ChunkKey, Frame]], prefix: Sequence[ChunkKey] = (), terms: Terms = NO_TERMS
    ) -> int:
        """How many leading frames the tier that took most of them holds."""
        stored = self.put_fastest(entries, prefix, terms)
        return max(stored, self.put_below(entries, prefix, terms))

    def put_fastest(
        self, entries: Sequence[tuple[ChunkKey, Frame]], prefix: Sequence[ChunkKey] = (), terms: Terms = NO_TERMS
    ) -> int:
        """The first half of `put`: how many leading frames the fastest tier took."""
        return sum(self._ask(tier, 0, tier.put, entries, prefix, terms) for tier in self.tiers[:1])

    def put_below(
        self, entries: Sequence[tuple[ChunkKey, Frame]], prefix: Sequence[ChunkKey] = (), terms: Terms = NO_TERMS
    ) -> int:
        """The other half: how many leading frames one of the other tiers holds."""
        if self._admission is None:
            return max((self._ask(tier, 0, tier.put, entries, prefix, terms) for tier in self.tiers[1:]), default=0)
        if not entries:
            return 0
        keys = [key for key, _ in entries]
        num_admitted = self._admission.admitted(keys)
        num_below = self._send_down([*prefix, *keys], len(prefix), num_admitted, dict(entries), terms)
        return max(num_below - len(prefix), 0)

    def put_durably(
        self, entries: Sequence[tuple[ChunkKey, Frame]], prefix: Sequence[ChunkKey] = (), terms: Terms = NO_TERMS
    ) -> int:
        """To every tier, admitted or not: how many leading frames one took in which they outlive a loss of power."""
        stored = [(tier.durable, self._ask(tier, 0, tier.put, entries, prefix, terms)) for tier in self.tiers]
        return max((taken for durable, taken in stored if durable), default=0)

    def delete(self, key: ChunkKey) -> bool:
        held = [self._ask(tier, False, tier.delete, key) for tier in self.tiers]
        return any(held)

    def delete_all(self, keys: Sequence[ChunkKey]) -> int:
        num_held = sum(self.entry(key) is not None for key in dict.fromkeys(keys))
        for tier in self.tiers:
            self._ask(tier, 0, tier.delete_all, keys)
        return num_held

    def touch(self, keys: Sequence[ChunkKey]) -> None:
        for tier in self.tiers:
            self._ask(tier, None, tier.touch, keys)
        if self._admission is not None and keys:
            admitted = self._admission.admitted(keys)
            self.background.submit(partial(self._send_down, keys, 0, admitted, {}, NO_TERMS))

    def pin(self, keys: Sequence[ChunkKey], pinned: bool = True) -> int:
        """In every tier; what is promoted later is not pinned there. Returns the most that one tier holds."""
        return max((self._ask(tier, 0, tier.pin, keys, pinned) for tier in self.tiers), default=0)

    def where(self, key: ChunkKey) -> str | None:
        """Of the fastest tier that says it."""
        for tier in self.tiers:
            if (place := self._ask(tier, None, tier.where, key)) is not None:
                return place
        return None

    def in_files(self, keys: Sequence[ChunkKey]) -> list[InFile | None]:
        """Of the fastest tier that has each in one."""
        found: dict[ChunkKey, InFile] = {}
        for tier in self.tiers:
            missing = [key for key in keys if key not in found]
            nowhere: list[InFile | None] = [None] * len(missing)
            places = zip(missing, self._ask(tier, nowhere, tier.in_files, missing), strict=True)
            found.update((key, place) for key, place in places if place is not None)
        return [found.get(key) for key in keys]

    def entry(self, key: ChunkKey) -> Entry | None:
        """Of the fastest tier that holds it."""
        for tier in self.tiers:
            if (entry := self._ask(tier, None, tier.entry, key)) is not None:
                return entry
        return None

    def quarantine(self, key: ChunkKey, reason: str) -> None:
        for tier in self.tiers:
            self._ask(tier, None, tier.quarantine, key, reason)

    def quarantined(self) -> dict[str, dict[str, str | float]]:
        """Of every tier that remembers."""
        nothing: dict[str, dict[str, str | float]] = {}
        found = [self._ask(tier, nothing, tier.quarantined) for tier in self.tiers]
        return {key: note for of_tier in reversed(found) for key, note in of_tier.items()}

    def keep_profile(self, fingerprint: str, content: bytes) -> bool:
        """True when a tier holds it now."""
        kept = [self._ask(tier, False, tier.keep_profile, fingerprint, content) for tier in self.tiers]
        return any(kept)

    def profile(self, fingerprint: str) -> bytes | None:
        """From the first tier that holds it whole."""
        damaged: MissingProfile | None = None
        for tier in self.tiers:
            try:
                content = self._ask(tier, None, tier.profile, fingerprint)
            except MissingProfile as error:
                damaged = error
            else:
                if content is not None:
                    return content
        if damaged is not None:
            raise damaged
        return None

    def profiles(self) -> list[str]:
        """Tier by tier, each once."""
        nothing: list[str] = []
        return list(dict.fromkeys(name for tier in self.tiers for name in self._ask(tier, nothing, tier.profiles)))

    def entries(self) -> Iterator[Entry]:
        seen: set[ChunkKey] = set()
        nothing: Iterator[Entry] = iter(())
        for tier in self.tiers:
            for entry in self._ask(tier, nothing, tier.entries):
                if entry.key not in seen:
                    seen.add(entry.key)
                    yield entry

    def states(self) -> list[TierState]:
        """Tier by tier; what was asked of each since this began."""
        return [state for tier in self.tiers for state in self._states_of(tier)]

    def _states_of(self, tier: Tier) -> list[TierState]:
        first, *others = tier.states()
        use, held_off = self._uses[tier], self.open_breakers()
        median_s, p99_s = use.latencies.median_and_p99()
        if first.median_s is None:
            first = replace(first, median_s=median_s, p99_s=p99_s)
        first = replace(
            first,
            reads_held_off=first.reads_held_off or held_off[tier.name, "read"],
            writes_held_off=first.writes_held_off or held_off[tier.name, "write"],
            chunks_asked=use.chunks_asked,
            chunks_held=use.chunks_held,
        )
        return [first, *others]

    @property
    def spared(self) -> Iterable[ChunkKey]:
        """Of every tier."""
        return self._spared

    @spared.setter
    def spared(self, keys: Iterable[ChunkKey]) -> None:
        self._spared = keys
        for tier in self.tiers:
            tier.spared = keys

    @property
    def size_bytes(self) -> int:
        """Bytes over all tiers; a frame in two of them counts twice."""
        return sum(self._ask(tier, 0, lambda tier: tier.size_bytes, tier) for tier in self.tiers)

    def close(self) -> None:
        self.background.close()
        for tier in self.tiers:
            tier.close()
