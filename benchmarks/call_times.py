"""CPU and wall time of calls, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np


@dataclass
class CallTimes:
    cpu_ms: list[float] = field(default_factory=list)
    wall_ms: list[float] = field(default_factory=list)

    @contextmanager
    def call(self, cpu: Callable[[], float] = time.process_time) -> Iterator[None]:
        """`cpu` counts CPU seconds: of the process, what it does behind the call included, or of the thread alone."""
        cpu_s, wall_s = cpu(), time.perf_counter()
        yield
        self.cpu_ms.append(1e3 * (cpu() - cpu_s))
        self.wall_ms.append(1e3 * (time.perf_counter() - wall_s))

    def percentiles(self) -> dict[str, float]:
        numbers = {"cpu": self.cpu_ms, "wall": self.wall_ms}
        return {
            f"{name}_p{percent}_ms": float(np.percentile(values, percent))
            for name, values in numbers.items()
            for percent in (50, 99)
        }
