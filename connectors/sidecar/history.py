"""History: how full the tiers were and what was counted, every five seconds of the last hour."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from connectors.sidecar.service import Service

EVERY_S, _MOST_SAMPLES = 5.0, 720


@dataclass(frozen=True)
class Sample:
    """At one moment, in Unix seconds. The size of a tier is None where it is not known."""

    at_s: float
    tiers: Mapping[str, int | None]
    waiting_bytes: int
    counters: Mapping[str, int]


class History:
    """Of a service, in a ring. A sample walks over nothing. Safe in threads."""

    def __init__(self, service: Service, clock: Callable[[], float] = time.time) -> None:
        self._service, self._clock = service, clock
        self._samples: deque[Sample] = deque(maxlen=_MOST_SAMPLES)

    def sample(self) -> None:
        """Takes one now."""
        tiers = {state.name: state.size_bytes for state in self._service.tiers.states()}
        counters, waiting_bytes = self._service.metrics.snapshot(), self._service.behind.waiting_bytes
        self._samples.append(Sample(self._clock(), tiers, waiting_bytes, counters))

    def samples(self) -> list[Sample]:
        """The oldest first."""
        return list(self._samples)

    @contextmanager
    def kept(self, every_s: float = EVERY_S) -> Iterator[None]:
        """Samples are taken until the `with` is left, the first at once."""
        ended = threading.Event()

        def keep() -> None:
            self.sample()
            while not ended.wait(every_s):
                self.sample()

        thread = threading.Thread(target=keep, name="kvstore-history", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
