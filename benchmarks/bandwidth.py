"""Bandwidth over time, for simulations: in steps, as a random walk, or read from a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

GBIT = 1e9 / 8
"""Bytes."""


@dataclass(frozen=True)
class Trace:
    """`rates[i]` bytes per second from `starts[i]` seconds on, until the next start; the last one for ever."""

    starts: tuple[float, ...]
    rates: tuple[float, ...]

    def __post_init__(self) -> None:
        ordered = all(early < late for early, late in pairwise(self.starts))
        if not self.starts or len(self.starts) != len(self.rates) or self.starts[0] != 0 or not ordered:
            raise ValueError("a trace begins at 0 seconds and its times grow")
        if not all(0 <= rate < math.inf for rate in self.rates) or not self.rates[-1]:
            raise ValueError("a trace's bandwidths are finite and not negative, and the last lets something through")

    def rate(self, at_s: float) -> float:
        """Bytes per second."""
        return self.rates[self._interval(at_s)]

    def arrival_s(self, at_s: float, num_bytes: float) -> float:
        """When the last of `num_bytes` is there that are asked for at `at_s`."""
        first = self._interval(at_s)
        for rate, end_s in zip(self.rates[first:], self.starts[first + 1 :], strict=False):
            if num_bytes <= rate * (end_s - at_s):
                return at_s + num_bytes / rate
            num_bytes, at_s = num_bytes - rate * (end_s - at_s), end_s
        return at_s + num_bytes / self.rates[-1]

    def _interval(self, at_s: float) -> int:
        return int(np.searchsorted(self.starts, at_s, side="right")) - 1


def steps(gbits: Sequence[float], each_s: float, repeats: int = 1) -> Trace:
    """These Gbit/s in turn, `each_s` seconds each."""
    rates = tuple(GBIT * gbit for gbit in gbits) * repeats
    return Trace(tuple(each_s * index for index in range(len(rates))), rates)


def random_walk(lowest: float, highest: float, each_s: float, num_steps: int, seed: int) -> Trace:
    """From the middle, up or down by a quarter of the range at most, on a logarithmic scale; in Gbit/s."""
    chosen, low, high = np.random.default_rng(seed), math.log(lowest), math.log(highest)
    gbits, at = [], (low + high) / 2
    for change in chosen.uniform(-0.25, 0.25, num_steps):
        at = min(max(at + change * (high - low), low), high)
        gbits.append(math.exp(at))
    return steps(gbits, each_s)


def read_trace(path: Path) -> Trace:
    """Lines of `seconds Gbit/s`, from 0 seconds on. Raises ValueError when they make no sense."""
    points = [tuple(map(float, line.split())) for line in path.read_text().splitlines() if line.strip()]
    if any(len(point) != 2 for point in points):
        raise ValueError(f"{path}: every line is `seconds Gbit/s`")
    return Trace(tuple(point[0] for point in points), tuple(GBIT * point[1] for point in points))
