"""WriteBehind: puts that return when the fastest tier has them; the tiers below get them a little later, together."""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from kvstore.key import ChunkKey
from kvstore.metrics import Metrics
from kvstore.tier import NO_TERMS, Frame, Terms
from kvstore.tiered import Tiers

_log = logging.getLogger(__name__)
_TOGETHER_BYTES = 32 << 20  # one durable group of a disk tier
_LINGER_S = 0.05  # for more to come that is written together: a group costs a disk tier what a frame alone does


@dataclass
class _Run:
    """Frames of one prompt, each behind the one before."""

    entries: list[tuple[ChunkKey, Frame]]
    prefix: Sequence[ChunkKey]
    terms: Terms
    num_bytes: int
    number: int = 0
    """Which submission began it."""

    @property
    def last(self) -> ChunkKey:
        return self.entries[-1][0]


class WriteBehind:
    """A queue bounded in bytes, and a thread that empties it. What there is no room for stays in the fastest tier
    alone, and is counted. Safe in threads.
    """

    def __init__(self, tiers: Tiers, metrics: Metrics, capacity_bytes: int = 256 << 20) -> None:
        self._tiers, self._metrics, self._capacity_bytes = tiers, metrics, capacity_bytes
        self._waiting: deque[_Run] = deque()
        self._ends: dict[ChunkKey, _Run] = {}  # those waiting, by their last key
        self._times: Counter[ChunkKey] = Counter()  # that keys are waiting
        self._writing: _Run | None = None
        self._bytes = self._submissions = self._flushing = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="kvstore-write-behind", daemon=True)
        self._thread.start()

    def put(
        self, entries: Sequence[tuple[ChunkKey, Frame]], prefix: Sequence[ChunkKey] = (), terms: Terms = NO_TERMS
    ) -> int:
        """As `Tiers.put`, which it is where there is but one tier, or the fastest declines."""
        if len(self._tiers.tiers) < 2:
            return self._tiers.put(entries, prefix, terms)
        stored = self.put_fastest(entries, prefix, terms)
        if stored == len(entries):
            return stored
        self._write_before(entries)
        return max(stored, self._tiers.put_below(entries, prefix, terms))

    def put_durably(
        self, entries: Sequence[tuple[ChunkKey, Frame]], prefix: Sequence[ChunkKey] = (), terms: Terms = NO_TERMS
    ) -> int:
        """As `Tiers.put_durably`."""
        self._write_before(entries)
        return self._tiers.put_durably(entries, prefix, terms)

    def _write_before(self, entries: Sequence[tuple[ChunkKey, Frame]]) -> None:
        """Waits until nothing waits under these keys: what was put earlier must not come below later."""
        with self._changed:
            writing = set() if self._writing is None else {key for key, _ in self._writing.entries}
            waits = any(self._times[key] or key in writing for key, _ in entries)
        if waits:
            self.flush()

    def put_fastest(
        self, entries: Sequence[tuple[ChunkKey, Frame]], prefix: Sequence[ChunkKey] = (), terms: Terms = NO_TERMS
    ) -> int:
        """How many leading frames the fastest tier took. When that is all of them, they are on their way below."""
        stored = self._tiers.put_fastest(entries, prefix, terms)
        if entries and stored == len(entries) and len(self._tiers.tiers) > 1:
            self._submit(_Run(list(entries), prefix, terms, sum(len(frame) for _, frame in entries)))
        return stored

    def _submit(self, run: _Run) -> None:
        with self._changed:
            if self._closed or self._bytes + run.num_bytes > self._capacity_bytes:
                self._metrics.count("chunks_not_written", len(run.entries))
                return
            self._bytes += run.num_bytes
            self._submissions += 1
            run.number = self._submissions
            before = self._run_before(run)
            self._times.update(key for key, _ in run.entries)
            if before is None:
                self._waiting.append(run)
            else:
                del self._ends[before.last]
                before.entries += run.entries
                before.num_bytes += run.num_bytes
                run = before
            self._ends[run.last] = run
            if self._is_due() or len(self._waiting) == 1:
                self._changed.notify_all()

    def _run_before(self, run: _Run) -> _Run | None:
        """What waits and is continued by it; None where one of its keys waits already: the last put wins."""
        before = self._ends.get(run.prefix[-1]) if run.prefix else None
        if before is None or before.terms != run.terms or before.num_bytes >= _TOGETHER_BYTES:
            return None
        return None if any(self._times[key] for key, _ in run.entries) else before

    @property
    def waiting_bytes(self) -> int:
        """Of frames that are not below the fastest tier yet."""
        return self._bytes

    def flush(self, timeout_s: float | None = None) -> bool:
        """Waits until all that was put before is below; False when that took longer than `timeout_s`."""
        with self._changed:
            last = self._submissions
            self._flushing += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: self._oldest() > last, timeout_s)
            finally:
                self._flushing -= 1

    def _oldest(self) -> float:
        """The submission that began what is written next, or now."""
        first = self._writing or (self._waiting[0] if self._waiting else None)
        return math.inf if first is None else first.number

    def close(self) -> None:
        """Writes what waits, then ends the thread. Safe to repeat."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while (run := self._next()) is not None:
            try:
                self._tiers.put_below(run.entries, run.prefix, run.terms)
            except Exception:  # whatever it is, the next run is tried
                self._metrics.count("saves_failed")
                _log.exception("writing %d chunks behind failed", len(run.entries))
            with self._changed:
                self._writing = None
                self._bytes -= run.num_bytes
                self._changed.notify_all()

    def _next(self) -> _Run | None:
        """Waits for it; None when all is written and nothing more comes."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            self._changed.wait_for(self._is_due, _LINGER_S)
            if not self._waiting:
                return None
            self._writing = run = self._waiting.popleft()
            if self._ends.get(run.last) is run:  # else a later one ends there
                del self._ends[run.last]
            for key, _ in run.entries:
                self._times[key] -= 1
                if not self._times[key]:
                    del self._times[key]
            return run

    def _is_due(self) -> bool:
        return self._closed or bool(self._flushing) or self._bytes >= _TOGETHER_BYTES
