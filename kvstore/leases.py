"""Leases: frames that stay while somebody who was told of them comes to read them."""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kvstore.errors import InvalidRequest
from kvstore.key import ChunkKey

LONGEST_LEASE_S = 600.0
_MOST_KEYS = 1 << 17
"""Of all leases together, a chunk as often as it is leased: whoever makes room walks over them."""


@dataclass(frozen=True)
class Lease:
    """What was granted to `holder`, until when by `time.monotonic`."""

    id: str
    keys: tuple[ChunkKey, ...]
    holder: str
    until_s: float


class Leases:
    """Iterates over the keys that are leased now: a tier that is given this as its `spared` drops none of them to make
    room. They end with the process, by time, or when they are released. Safe in threads.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._leases: dict[str, Lease] = {}
        self._times: Counter[ChunkKey] = Counter()
        self._num_keys, self._none_ends_before_s = 0, math.inf

    def grant(self, keys: Sequence[ChunkKey], seconds: float, holder: str = "") -> Lease | None:
        """None when too much is leased already: what is read then may be gone.

        Raises InvalidRequest unless `seconds` are positive and at most LONGEST_LEASE_S.
        """
        with self._lock:
            until_s = self._until(seconds)
            if self._num_keys + len(keys) > _MOST_KEYS:
                return None
            lease = Lease(secrets.token_urlsafe(12), tuple(keys), holder, until_s)
            self._leases[lease.id] = lease
            self._times.update(lease.keys)
            self._num_keys += len(lease.keys)
            return lease

    def renew(self, lease_id: str, seconds: float, holder: str = "") -> bool:
        """From now on; False when it has ended, or is somebody else's. Raises as `grant`."""
        with self._lock:
            until_s, lease = self._until(seconds), self._leases.get(lease_id)
            if lease is None or lease.holder != holder:
                return False
            self._leases[lease_id] = Lease(lease.id, lease.keys, holder, until_s)
            return True

    def release(self, lease_id: str, holder: str = "") -> bool:
        """False when it has ended, or is somebody else's."""
        with self._lock:
            self._end_those_over()
            lease = self._leases.get(lease_id)
            if lease is None or lease.holder != holder:
                return False
            self._end(lease)
            return True

    def __iter__(self) -> Iterator[ChunkKey]:
        with self._lock:
            self._end_those_over()
            return iter(list(self._times))

    def __len__(self) -> int:
        """How many leases there are."""
        with self._lock:
            self._end_those_over()
            return len(self._leases)

    def _until(self, seconds: float) -> float:
        if not 0 < seconds <= LONGEST_LEASE_S:
            raise InvalidRequest(f"a lease of {seconds:g} s; allowed are more than 0 and at most {LONGEST_LEASE_S:g}")
        self._end_those_over()
        until_s = self._clock() + seconds
        self._none_ends_before_s = min(self._none_ends_before_s, until_s)
        return until_s

    def _end_those_over(self) -> None:
        now_s = self._clock()
        if now_s < self._none_ends_before_s:
            return
        for lease in [lease for lease in self._leases.values() if lease.until_s <= now_s]:
            self._end(lease)
        self._none_ends_before_s = min((lease.until_s for lease in self._leases.values()), default=math.inf)

    def _end(self, lease: Lease) -> None:
        del self._leases[lease.id]
        self._num_keys -= len(lease.keys)
        for key in lease.keys:
            self._times[key] -= 1
            if not self._times[key]:
                del self._times[key]
