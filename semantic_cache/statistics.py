"""Statistics: what became of the queries of each category, and what is held of it."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from dataclasses import dataclass

from semantic_cache.decision import Outcome
from semantic_cache.quota import Quotas


@dataclass(frozen=True)
class CategoryStatistics:
    """Of one category since the start, and what it holds now."""

    category: str
    hits_exact: int
    hits_semantic: int
    misses: int
    explored: int
    barred: int
    not_searched: int
    saved_s: float
    """Seconds that the model would have taken for what was served."""
    entries: int
    size_bytes: int
    oldest_at_s: float | None
    """Unix time, as `newest_at_s`; None of nothing."""
    newest_at_s: float | None

    @property
    def queries(self) -> int:
        hits = self.hits_exact + self.hits_semantic
        return hits + self.misses + self.explored + self.barred + self.not_searched

    @property
    def hit_rate(self) -> float | None:
        """Of the queries that may be answered; None of none."""
        asked = self.queries - self.barred
        return (self.hits_exact + self.hits_semantic) / asked if asked else None


class Statistics:
    """Counts by category. Counting takes a microsecond; safe in threads."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self._counts: defaultdict[str, Counter[Outcome]] = defaultdict(Counter)
        self._saved_s: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    def count(self, category: str, outcome: Outcome, saved_s: float = 0.0) -> None:
        """`saved_s`: of a hit, the seconds that computing took which it spared."""
        with self._lock:
            self._counts[category][outcome] += 1
            self._saved_s[category] += saved_s

    def of(self, category: str) -> CategoryStatistics:
        """Zeros of one that nothing is known of."""
        with self._lock:
            counts, saved_s = self._counts[category].copy(), self._saved_s[category]
        holding = self._quotas.holding(category)
        return CategoryStatistics(
            category,
            counts[Outcome.EXACT],
            counts[Outcome.SEMANTIC],
            counts[Outcome.MISS],
            counts[Outcome.EXPLORE],
            counts[Outcome.BARRED],
            counts[Outcome.NOT_SEARCHED],
            saved_s,
            holding.entries,
            holding.size_bytes,
            holding.oldest_at_s,
            holding.newest_at_s,
        )
