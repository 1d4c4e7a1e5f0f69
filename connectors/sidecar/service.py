"""Service: one store's tiers for many callers. Each sees, changes and deletes its own tenant's frames alone."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from codec import CorruptFrame, read_identity
from connectors.sidecar.callers import Caller
from connectors.sidecar.problems import Problem
from kvstore import ChunkKey, ChunkTree, Entry, EntryFilter, InvalidRequest, Metrics, Terms, Tiers, TierUnavailable
from kvstore.leases import Lease, Leases
from kvstore.tier import Frame, InFile
from kvstore.write_behind import WriteBehind

_FLUSH_S = 30.0  # what waits to be written below is waited for before it is deleted


@dataclass(frozen=True)
class Matched:
    """The leading keys held, run by run of one tier, and the lease on them."""

    held: int
    runs: list[tuple[str, int]]
    lease: Lease | None = None


@dataclass(frozen=True)
class Put:
    """How many leading frames were kept, and whether they outlive a loss of power."""

    stored: int
    durable: bool


def require_frame(key: ChunkKey, frame: Frame) -> None:
    """Raises CorruptFrame unless these bytes have the sound header of a frame of that key and length.

    What it says of the sections, and their own checksums, are whoever decodes them's.
    """
    stated, num_bytes = read_identity(frame)
    if stated != str(key):
        raise CorruptFrame(f"the body is the frame of chunk {stated[:12]}")
    if num_bytes != len(frame):
        raise CorruptFrame(f"the body is {len(frame)} bytes long, its frame {num_bytes}")


class Service:
    """Safe in threads. What it is asked may wait for a disk, but for `match` and `entry`."""

    def __init__(
        self,
        tiers: Tiers,
        metrics: Metrics,
        check: Callable[[ChunkKey, Frame], None] = require_frame,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`check` raises CorruptFrame on what is not to be stored."""
        self.tiers, self.metrics, self.leases = tiers, metrics, Leases()
        self.behind = WriteBehind(tiers, metrics)
        self._check, self._clock = check, clock
        self._given: Counter[str] = Counter()
        self._counting = threading.Lock()
        tiers.spared = self.leases

    def match(self, caller: Caller, keys: Sequence[ChunkKey], lease_s: float = 0.0) -> Matched:
        """Raises InvalidRequest on a lease that is too long."""
        runs = self.tiers.runs(keys)
        held = sum(more for _, more in runs)
        if not caller.is_admin:
            held = next((index for index, key in enumerate(keys[:held]) if self.entry(caller, key) is None), held)
            runs = _first(runs, held)
        lease = self.leases.grant(keys[:held], lease_s, caller.name) if lease_s and held else None
        return Matched(held, runs, lease)

    def entry(self, caller: Caller, key: ChunkKey) -> Entry | None:
        entry = self.tiers.entry(key)
        return entry if entry is not None and caller.sees(entry) else None

    def get(self, caller: Caller, key: ChunkKey) -> memoryview | None:
        if not caller.is_admin and self.entry(caller, key) is None:
            return None
        found = self.tiers.get_from(key)
        return None if found is None else self._given_to(caller, key, *found)

    def at_hand(self, caller: Caller, key: ChunkKey) -> memoryview | None:
        """The frame if it can be had without waiting: from memory."""
        if self.tiers.tiers[0].name != "memory" or (not caller.is_admin and self.entry(caller, key) is None):
            return None
        frame = self.tiers.get_fastest(key)
        return None if frame is None else self._given_to(caller, key, "memory", frame)

    def _given_to(self, caller: Caller, key: ChunkKey, tier: str, frame: memoryview) -> memoryview | None:
        if not caller.is_admin and self.entry(caller, key) is None:  # it became another's while it was read
            return None
        with self._counting:
            self._given[tier] += 1
        return frame

    @property
    def given(self) -> dict[str, int]:
        """How many frames were given away from each tier, by its name."""
        with self._counting:
            return {tier.name: self._given[tier.name] for tier in self.tiers.tiers}

    def in_files(self, caller: Caller, keys: Sequence[ChunkKey]) -> list[InFile | None]:
        seen = [key for key in keys if caller.is_admin or self.entry(caller, key) is not None]
        found = dict(zip(seen, self.tiers.in_files(seen), strict=True))
        places = [found.get(key) for key in keys]
        self.metrics.count("frames_described", len(places) - places.count(None))
        return places

    def put(
        self,
        tenant: str,
        entries: Sequence[tuple[ChunkKey, Frame]],
        parent: ChunkKey | None = None,
        ttl_s: float = 0.0,
        durable: bool = False,
        expires_at_s: float = math.inf,
    ) -> Put:
        """A prompt's frames one behind the other, the first behind `parent`. Not durable: when a memory tier has them.

        They are kept for `ttl_s`, where that is not 0, and until `expires_at_s`, whichever is less.
        A frame that another tenant holds stays that tenant's, and is declined. Raises CorruptFrame.
        """
        own, prefix, terms = self._own(tenant, entries, parent, ttl_s, expires_at_s)
        put = self.behind.put_durably if durable else self.behind.put
        return self._kept(put(own, prefix, terms), durable)

    def put_at_hand(
        self, tenant: str, key: ChunkKey, frame: Frame, parent: ChunkKey | None = None, ttl_s: float = 0.0
    ) -> Put | None:
        """As `put`, not durable; None, with nothing kept, where it does not go to memory without waiting."""
        if self.tiers.tiers[0].name != "memory":
            return None
        own, prefix, terms = self._own(tenant, [(key, frame)], parent, ttl_s, math.inf)
        stored = self.behind.put_fastest(own, prefix, terms)
        return self._kept(stored, False) if stored else None

    def _own(
        self,
        tenant: str,
        entries: Sequence[tuple[ChunkKey, Frame]],
        parent: ChunkKey | None,
        ttl_s: float,
        expires_at_s: float,
    ) -> tuple[Sequence[tuple[ChunkKey, Frame]], list[ChunkKey], Terms]:
        """Those before the first that another tenant holds, and behind what and on what terms they are put."""
        for key, frame in entries:
            self._check(key, frame)
        held = map(self.tiers.entry, (key for key, _ in entries))
        num_own = next(
            (index for index, entry in enumerate(held) if entry is not None and entry.terms.tenant != tenant),
            len(entries),
        )
        terms = Terms(tenant, min(expires_at_s, self._clock() + ttl_s if ttl_s else math.inf))
        return entries[:num_own], [parent] if parent is not None else [], terms

    def _kept(self, stored: int, durable: bool) -> Put:
        self.metrics.count("frames_kept", stored)
        return Put(stored, durable)

    def delete(self, caller: Caller, keys: Sequence[ChunkKey]) -> int:
        """Each with nothing behind it that is held, or after that. How many were held, and are gone for good.

        Raises TierUnavailable when some are held still.
        """
        self._settle()
        own, began_s = [key for key in keys if self.entry(caller, key) is not None], self._clock()
        deleted = self.tiers.delete_all(own)
        self._require_gone(own, began_s)
        return deleted

    def pin(self, caller: Caller, keys: Sequence[ChunkKey], pinned: bool) -> int:
        """How many leading ones are held."""
        self._settle()
        return self.tiers.pin(keys[: self.match(caller, keys).held], pinned)

    def touch(self, caller: Caller, keys: Sequence[ChunkKey]) -> None:
        self.tiers.touch([key for key in keys if self.entry(caller, key) is not None])

    def prefetch(self, caller: Caller, keys: Sequence[ChunkKey]) -> int:
        """How many of the leading keys will be looked at."""
        return self.tiers.prefetch(keys[: self.match(caller, keys).held])

    def tree(self, caller: Caller) -> ChunkTree:
        """All that the caller sees."""
        return ChunkTree(entry for entry in self.tiers.entries() if caller.sees(entry))

    def select(
        self, caller: Caller, wanted: EntryFilter, prefix: ChunkKey | None = None, pinned: bool = False
    ) -> list[Entry]:
        """What a filter selects, of all or of what lies behind `prefix`; as `selected`."""
        tree = self.tree(caller)
        if prefix is not None and tree.entry(prefix) is None:
            raise Problem("not-found", f"no chunk {prefix} is held")
        among: Collection[ChunkKey] | None = None if prefix is None else tree.with_all_behind([prefix])
        chosen = {entry.key for entry in tree.prefix_first(among) if wanted.selects(entry)}
        return self.selected(tree, chosen, pinned)

    def selected(self, tree: ChunkTree, chosen: Collection[ChunkKey], pinned: bool) -> list[Entry]:
        """These chunks with all behind them, suffix before prefix.

        Unless `pinned` are meant too, those that a tier has pinned stay, and what stands before them.
        """
        keep = () if pinned else [key for key in tree.deletable(chosen) if self._is_pinned(key)]
        return list(tree.prefix_first(tree.deletable(chosen, keep)))[::-1]

    def _is_pinned(self, key: ChunkKey) -> bool:
        """In any tier: what was copied to a faster one later is pinned where it came from alone."""
        held = (tier.entry(key) for tier in self.tiers.tiers)
        return any(entry is not None and entry.pinned for entry in held)

    def quarantine(self, caller: Caller, key: ChunkKey, reason: str) -> bool:
        """Takes a frame that a reader found damaged out of service; False when it is not held."""
        self._settle()
        if self.entry(caller, key) is None:
            return False
        began_s = self._clock()
        self.tiers.quarantine(key, reason)
        self._require_gone([key], began_s)
        self.metrics.count("chunks_corrupt")
        return True

    def _require_gone(self, keys: Sequence[ChunkKey], since_s: float) -> None:
        """What somebody else has put since then may be there."""
        held = (self.tiers.entry(key) for key in keys)
        left = sum(entry is not None and entry.saved_at_s < since_s for entry in held)
        if left:
            raise TierUnavailable(f"{left} of {len(keys)} chunks are still held: a tier failed")

    def _settle(self) -> None:
        """Nothing that is on its way down may bring back what is about to go."""
        if not self.behind.flush(_FLUSH_S):
            raise Problem("busy", "what was put is still being written", {"Retry-After": "5"})

    def close(self) -> None:
        """Writes what waits to be written. The tiers are whoever opened them's."""
        self.behind.close()


def _first(runs: Sequence[tuple[str, int]], num_keys: int) -> list[tuple[str, int]]:
    cut: list[tuple[str, int]] = []
    for name, more in runs:
        if (taken := min(more, num_keys)) > 0:
            cut.append((name, taken))
            num_keys -= taken
    return cut


def key_of(digits: str) -> ChunkKey:
    """Raises Problem unless it is a whole key."""
    try:
        return ChunkKey.from_hex(digits)
    except InvalidRequest as error:
        raise Problem("invalid-request", str(error)) from error
