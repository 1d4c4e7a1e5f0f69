"""How a tier does: what it holds, whether it answers, what it was asked for, and how long that took."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from kvstore.latencies import Latencies


@dataclass(frozen=True)
class TierState:
    """Of one place that a tier keeps frames in. None is what is not known."""

    name: str
    place: str | None = None
    """A directory, or a URL without whatever is secret; None: memory of the process."""
    durable: bool = False
    size_bytes: int | None = None
    """Of the frames held; of a server, of all that it holds, whoever put it there."""
    capacity_bytes: int | None = None
    chunks: int | None = None
    """Held, as far as that takes no walk; of a server, all its values."""
    problem: str | None = None
    """Why it does not answer, for people."""
    reads_held_off: bool = False
    """A breaker is open: it is not asked for a while, as with what is written to it."""
    writes_held_off: bool = False
    chunks_asked: int | None = None
    """Of prompts that were looked up: those that no faster tier held."""
    chunks_held: int | None = None
    """How many of these it did."""
    median_s: float | None = None
    """That a frame took to come, of the last ones; as `p99_s`."""
    p99_s: float | None = None


class TierUse:
    """What one tier was asked for lately. Safe in threads."""

    def __init__(self) -> None:
        self.chunks_asked = self.chunks_held = 0
        self.latencies = Latencies()
        self._lock = threading.Lock()

    def matched(self, num_asked: int, num_held: int) -> None:
        with self._lock:
            self.chunks_asked += num_asked
            self.chunks_held += num_held
