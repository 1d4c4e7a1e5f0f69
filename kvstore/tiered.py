"""Tiers: a Tier made of Tiers, fastest first. Promotion, write-through and prefetch happen here and nowhere else."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

from kvstore.admission import Admission
from kvstore.background import Background
from kvstore.breaker import Breaker
from kvstore.cost import CostModel
from kvstore.errors import MissingProfile, TierUnavailable
from kvstore.key import ChunkKey
from kvstore.metrics import Metrics
from kvstore.tier import NO_TERMS, Entry, Frame, Terms, Tier

_log = logging.getLogger(__name__)
T = TypeVar("T")
_READING, _WRITING = ("match", "get", "entry"), ("put", "touch", "pin")  # a full disk reads on
_SLOW_S = 5.0  # a read that takes longer is as bad as one that fails


class Tiers(Tier):
    """A frame found in a slow tier is copied to the faster ones; a put goes to every tier.

    With an `admission` it goes to the fastest one, and below it only what is admitted, when it is, together with
    all that stands before it. What the fastest drops earlier is gone.

    A tier that is unavailable is skipped and counted. The log names it, and what it could not do, once
    until that works again. One that keeps failing is not asked for a while; it has a breaker for reading and
    one for writing. What is deleted, quarantined or listed goes past them.
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
        self._breakers = {
            (tier, verb): guard
            for tier in self.tiers
            for verbs, guard in ((_READING, breaker()), (_WRITING, breaker()))
            for verb in verbs
        }
        self._complained: set[tuple[str, str]] = set()
        self.background = Background()

    def match(self, keys: Sequence[ChunkKey]) -> int:
        return sum(held for _, held in self.runs(keys))

    def runs(self, keys: Sequence[ChunkKey]) -> list[tuple[str, int]]:
        """The leading keys that are held, run by run: a tier's name, and how many of those that follow it holds.

        Metadata only, as `match`.
        """
        runs: list[tuple[str, int]] = []
        held, before = 0, -1
        while before < held < len(keys):
            before = held
            for tier in self.tiers:
                if more := self._ask(tier, 0, tier.match, keys[held:]):
                    runs.append((tier.name, more))
                    held += more
        return runs

    def get(self, key: ChunkKey) -> memoryview | None:
        for depth, tier in enumerate(self.tiers):
            started_s = time.perf_counter()
            frame = self._ask(tier, None, tier.get, key)
            if frame is not None:
                self._cost.got(tier.name, len(frame), time.perf_counter() - started_s)
                if depth:
                    self._promote(key, frame, tier, self.tiers[:depth])
                return frame
        return None

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
        at_once = self.tiers if self._admission is None else self.tiers[:1]
        stored = max((self._ask(tier, 0, tier.put, entries, prefix, terms) for tier in at_once), default=0)
        if self._admission is None or not entries:
            return stored
        keys = [key for key, _ in entries]
        num_admitted = self._admission.admitted(keys)
        num_below = self._send_down([*prefix, *keys], len(prefix), num_admitted, dict(entries), terms)
        return max(stored, num_below - len(prefix))

    def _send_down(
        self, prompt: Sequence[ChunkKey], start: int, num_admitted: int, put: Mapping[ChunkKey, Frame], terms: Terms
    ) -> int:
        """Admitted are so many chunks from `start` on; of the prompt, how many leading ones a tier below holds then."""
        before = self._before(prompt[0])
        num_wanted = len(before) + start + num_admitted if num_admitted else 0
        held = [self._fill(tier, [*before, *prompt], num_wanted, put, terms) for tier in self.tiers[1:]]
        return max(held, default=0) - len(before)

    def _before(self, key: ChunkKey) -> Sequence[ChunkKey]:
        """The chunks before this one in its prompt, as far as a tier knows them, the first one first."""
        before: deque[ChunkKey] = deque()
        while (entry := self.entry(before[0] if before else key)) is not None and entry.parent is not None:
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
        fastest = self.tiers[0]
        for key in keys:
            entry = self._ask(fastest, None, fastest.entry, key)
            if key in put:
                yield key, put[key], terms
            elif entry is None or (frame := self._ask(fastest, None, fastest.get, key)) is None:
                return
            else:
                yield key, frame, entry.terms

    def delete(self, key: ChunkKey) -> bool:
        held = [self._ask(tier, False, tier.delete, key) for tier in self.tiers]
        return any(held)

    def touch(self, keys: Sequence[ChunkKey]) -> None:
        for tier in self.tiers:
            self._ask(tier, None, tier.touch, keys)
        if self._admission is not None and keys:
            admitted = self._admission.admitted(keys)
            self.background.submit(partial(self._send_down, keys, 0, admitted, {}, NO_TERMS))

    def pin(self, keys: Sequence[ChunkKey], pinned: bool = True) -> int:
        """In every tier; what is promoted later is not pinned there. Returns the most that one tier holds."""
        return max((self._ask(tier, 0, tier.pin, keys, pinned) for tier in self.tiers), default=0)

    def entry(self, key: ChunkKey) -> Entry | None:
        """Of the fastest tier that holds it."""
        for tier in self.tiers:
            if (entry := self._ask(tier, None, tier.entry, key)) is not None:
                return entry
        return None

    def quarantine(self, key: ChunkKey, reason: str) -> None:
        for tier in self.tiers:
            self._ask(tier, None, tier.quarantine, key, reason)

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

    @property
    def size_bytes(self) -> int:
        """Bytes over all tiers; a frame in two of them counts twice."""
        return sum(self._ask(tier, 0, lambda tier: tier.size_bytes, tier) for tier in self.tiers)

    def close(self) -> None:
        self.background.close()
        for tier in self.tiers:
            tier.close()

    def _ask(self, tier: Tier, otherwise: T, call: Callable[..., T], *arguments: Any) -> T:
        """What the tier answers to `call(*arguments)`, or `otherwise` when it is unavailable or its breaker open."""
        breaker = self._breakers.get((tier, call.__name__))
        ticket = 0 if breaker is None else breaker.admit()
        if ticket is None:
            self._metrics.count("tier_skipped")
            return otherwise
        started_s, succeeded = time.monotonic(), False
        try:
            answer = call(*arguments)
            succeeded = call.__name__ not in _READING or time.monotonic() - started_s < _SLOW_S
        except TierUnavailable as error:
            self._complain(tier.name, call.__name__, error)
            return otherwise
        finally:
            if breaker is not None and breaker.report(ticket, succeeded):
                self._metrics.count("breakers_opened")
                _log.info("the %s tier fails or is slow: no %s for a while", tier.name, call.__name__)
        self._complained.discard((tier.name, call.__name__))
        return answer

    def _complain(self, name: str, verb: str, error: TierUnavailable) -> None:
        self._metrics.count("tier_unavailable")
        if (name, verb) not in self._complained:
            self._complained.add((name, verb))
            _log.warning("the %s tier is unavailable, going on without it (%s): %s", name, verb, error)
