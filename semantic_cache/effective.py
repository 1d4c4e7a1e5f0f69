"""Effective: what a category's policy comes to under a load.

The shapes follow Category-Aware Semantic Caching (arXiv 2510.26835, its section on adaptive policies) with the load L
from 0 to 1:

    floor(L) = max(floor - L * floor_drop, least_floor)      never above the floor itself
    ttl(L)   = ttl * (1 + L * (ttl_stretch - 1))

The floor only says which neighbours are looked at. Whether one is served is decided by the certifier too, whose bound
on wrong answers no load changes: there this deviates from the paper, which relaxes the threshold itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from semantic_cache.category import Category, Mode


@dataclass(frozen=True)
class Effective:
    floor: float
    """The lowest cosine of a neighbour that is looked at; infinite where only the same words are answered."""
    ttl_s: float
    """How old an answer may be; 0 where nothing is answered."""

    def is_fresh(self, saved_at_s: float, expires_at_s: float, now_s: float) -> bool:
        """Of an answer, all by Unix time. One that was saved in the future, by a clock that jumped, is not."""
        return 0.0 <= now_s - saved_at_s < self.ttl_s and now_s < expires_at_s


def effective(category: Category, load: float) -> Effective:
    """`load` below 0 is none, above 1 is full, and no number is none."""
    if not category.allowed:
        return Effective(math.inf, 0.0)
    load = min(load, 1.0) if load > 0 else 0.0
    ttl_s = category.ttl_s * (1 + load * (category.ttl_stretch - 1))
    if category.mode is Mode.EXACT:
        return Effective(math.inf, ttl_s)
    relaxed = max(category.floor - load * category.floor_drop, category.least_floor)
    return Effective(min(relaxed, category.floor), ttl_s)
