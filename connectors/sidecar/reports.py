"""Reports: what engines say they have done, so that reuse is seen in one place, by model and by rung.

An engine reports its counters as they stand. What they grew by since its last report is added to its model's sums,
which therefore never shrink; one that starts again from 0 is seen as such.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
RUNGS = {
    "exact": "tokens_exact",
    "blended": "tokens_blended",
    "computed": "tokens_computed",
    "not_loaded": "tokens_not_loaded",
}
"""What became of a prompt's tokens, from the best on, and which sum says how many. `tokens_exact` is what was loaded
and not blended: a sum that does not shrink either."""
MOST_ENGINES, MOST_MODELS = 256, 32
OTHER = "other"
"""The models of a tenant that are too many to be told apart."""
_LATELY_S = 300.0


@dataclass(frozen=True)
class EngineReport:
    """An engine's counters, as it reported them last, at `at_s` (Unix seconds)."""

    owner: str
    engine: str
    model: str
    counts: Mapping[str, int]
    at_s: float


class Reports:
    """Of every owner, a tenant or "": so many engines, those heard of last, and so many models. Safe in threads."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._engines: dict[str, OrderedDict[str, EngineReport]] = {}
        self._sums: dict[str, dict[str, Counter[str]]] = {}

    def take(self, owner: str, engine: str, model: str, counts: Mapping[str, int]) -> None:
        with self._lock:
            engines, models = self._engines.setdefault(owner, OrderedDict()), self._sums.setdefault(owner, {})
            before = engines.pop(engine, None)
            engines[engine] = EngineReport(owner, engine, model, dict(counts), self._clock())
            if len(engines) > MOST_ENGINES:
                engines.popitem(last=False)
            if model not in models and len(models) >= MOST_MODELS:
                model = OTHER
            models.setdefault(model, Counter()).update(_grown({} if before is None else before.counts, counts))

    def engines(self, owner: str | None) -> list[EngineReport]:
        """Those heard of lately, the last one first; of all owners where it is None."""
        with self._lock:
            since_s = self._clock() - _LATELY_S
            engines = [each for of_owner in _chosen(self._engines, owner) for each in of_owner.values()]
        return sorted((each for each in engines if each.at_s >= since_s), key=lambda each: -each.at_s)

    def by_model(self, owner: str | None) -> dict[str, Counter[str]]:
        """Sums of what was ever reported, by model; of all owners where it is None."""
        found: dict[str, Counter[str]] = {}
        with self._lock:
            for models in _chosen(self._sums, owner):
                for model, counts in models.items():
                    found.setdefault(model, Counter()).update(counts)
        return found


def _chosen(of_owners: Mapping[str, T], owner: str | None) -> list[T]:
    return list(of_owners.values()) if owner is None else [of_owners[owner]] if owner in of_owners else []


def _grown(before: Mapping[str, int], counts: Mapping[str, int]) -> dict[str, int]:
    """By how much each counter grew; what shrank began anew."""
    started = any(counts.get(name, 0) < count for name, count in before.items())
    grown = {name: count - (0 if started else before.get(name, 0)) for name, count in counts.items()}
    exact = max(grown.get("tokens_loaded", 0) - grown.get("tokens_blended", 0), 0)
    return {**grown, "tokens_exact": exact}
