"""BreakEven: a category is searched only while its hits pay for the searches.

Every query pays the search `s`, a hit pays fetching `f` instead of the model's `T`. Searching all pays when

    s + h * f + (1 - h) * T < T,    that is    h > (s + h * f) / T

with the hit rate `h` (Category-Aware Semantic Caching, arXiv 2510.26835, its section on the cost of a miss; derived
here). The cascade reads what it judges, of hits and misses alike, so a search is measured with its fetches: `s + h * f`
is one time. It, `h` and `T` are measured by category while they happen, the times as kvstore/estimate.py does: one
outlier moves nothing much. What is in doubt is searched: a search costs little beside
the model. Exact matching takes microseconds and is none of this: it is always on.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

from kvstore.estimate import Estimate

_MEMORY = 1000.0
"""Searches that the hit rate is about: an exponentially weighted mean over about as many."""
_IMAGINED = 2.0
"""Searches that are imagined to have hit before any was made, so that a category begins searched, and is given up only
after about this many times `1 / needed` searches without a hit."""
_ONE = (1.0,)


class _Category:
    def __init__(self) -> None:
        self.hits = self.searches = 0.0  # the older, the less they weigh
        self.search, self.model = Estimate(), Estimate()
        self.not_searched = 0  # since the last search


@dataclass(frozen=True)
class Balance:
    """Of one category, as of now."""

    hit_rate: float
    """Of its searches; NaN before the first."""
    needed: float
    """The hit rate that pays, above 1 where none does; NaN while too little was measured."""
    pays: bool
    """Or is not known not to."""


class BreakEven:
    """The same calls in the same order make the same decisions. Safe in threads."""

    def __init__(self, probe_every: int = 50) -> None:
        """While a category does not pay, one in `probe_every` of its queries is searched all the same, to learn."""
        self._probe_every = probe_every
        self._categories: dict[str, _Category] = {}
        self._lock = threading.Lock()

    def worth_searching(self, category: str) -> bool:
        """To be asked once for each query: while it says False, it counts towards the next one that it lets through."""
        with self._lock:
            known = self._of(category)
            if _balance(known).pays:
                return True
            known.not_searched += 1
            if known.not_searched < self._probe_every:
                return False
            known.not_searched = 0
            return True

    def searched(self, category: str, seconds: float, hit: bool) -> None:
        """A search took so long, with its fetching and judging. A neighbour that is explored counts as a hit: it may
        come to be one, and what is still being learned is not held against the category."""
        with self._lock:
            known = self._of(category)
            known.search.observe(_ONE, seconds)
            known.hits = known.hits * (1 - 1 / _MEMORY) + hit
            known.searches = known.searches * (1 - 1 / _MEMORY) + 1

    def computed(self, category: str, seconds: float) -> None:
        """The model took so long."""
        with self._lock:
            self._of(category).model.observe(_ONE, seconds)

    def balance(self, category: str) -> Balance:
        """Does not count as a query."""
        with self._lock:
            return _balance(self._categories.get(category) or _Category())

    def _of(self, category: str) -> _Category:
        return self._categories.setdefault(category, _Category())


def _balance(category: _Category) -> Balance:
    hit_rate = category.hits / category.searches if category.searches else math.nan
    needed = _needed(category)
    optimistic = (category.hits + _IMAGINED) / (category.searches + _IMAGINED)
    return Balance(hit_rate, needed, math.isnan(needed) or optimistic > needed)


def _needed(category: _Category) -> float:
    """NaN while too few searches and answers of the model were measured."""
    if not category.search.rates or not category.model.rates:
        return math.nan
    return category.search.seconds(_ONE) / category.model.seconds(_ONE)
