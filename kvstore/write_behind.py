"""WriteBehind: puts that return when the fastest tier has them; the tiers below get them a little later, together."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from kvstore.key import ChunkKey
from kvstore.metrics import Metrics
from kvstore.tier import NO_TERMS, Frame, Terms
from kvstore.tiered import Tiers

_log = logging.getLogger(__name__)
_TOGETHER_BYTES = 32 << 20  # one durable group of a disk tier


@dataclass
class _Run:
    """Frames of one prompt, each behind the one before."""

    entries: list[tuple[ChunkKey, Frame]]
    prefix: Sequence[ChunkKey]
    terms: Terms

    def continues(self, other: _Run) -> bool:
        return self.terms == other.terms and list(self.prefix[-1:]) == [other.entries[-1][0]]


class WriteBehind:
    """A queue bounded in bytes, and a thread that empties it. What there is no room for stays in the fastest tier
    alone, and is counted. Safe in threads.
    """

    def __init__(self, tiers: Tiers, metrics: Metrics, capacity_bytes: int = 256 << 20) -> None:
        self._tiers, self._metrics, self._capacity_bytes = tiers, metrics, capacity_bytes
        self._waiting: deque[_Run] = deque()
        self._submitted_bytes = self._written_bytes = 0
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
        stored = self._tiers.put_fastest(entries, prefix, terms)
        if stored < len(entries):
            return max(stored, self._tiers.put_below(entries, prefix, terms))
        self._submit(_Run(list(entries), prefix, terms))
        return stored

    def _submit(self, run: _Run) -> None:
        num_bytes = _bytes_of(run)
        with self._changed:
            if self._closed or self.waiting_bytes + num_bytes > self._capacity_bytes:
                self._metrics.count("chunks_not_written", len(run.entries))
                return
            self._submitted_bytes += num_bytes
            if self._waiting and run.continues(self._waiting[-1]) and _bytes_of(self._waiting[-1]) < _TOGETHER_BYTES:
                self._waiting[-1].entries += run.entries
            else:
                self._waiting.append(run)
            self._changed.notify_all()

    @property
    def waiting_bytes(self) -> int:
        """Of frames that are not below the fastest tier yet."""
        return self._submitted_bytes - self._written_bytes

    def flush(self, timeout_s: float | None = None) -> bool:
        """Waits until all that was put before is below; False when that took longer than `timeout_s`."""
        with self._changed:
            awaited_bytes = self._submitted_bytes
            return self._changed.wait_for(lambda: self._written_bytes >= awaited_bytes, timeout_s)

    def close(self) -> None:
        """Writes what waits, then ends the thread. Safe to repeat."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                run = self._waiting.popleft()
            try:
                self._tiers.put_below(run.entries, run.prefix, run.terms)
            except Exception:  # whatever it is, the next run is tried
                self._metrics.count("saves_failed")
                _log.exception("writing %d chunks behind failed", len(run.entries))
            with self._changed:
                self._written_bytes += _bytes_of(run)
                self._changed.notify_all()


def _bytes_of(run: _Run) -> int:
    return sum(len(frame) for _, frame in run.entries)
