"""Certifiers: one of each category, made when it is first asked for; safe to use from several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable

from semantic_cache.certifier import Certified, Certifier, Ruling


class Certifiers:
    """By category."""

    def __init__(self, make: Callable[[str], Certifier]) -> None:
        """`make` gives that of a category: new, or as it was kept."""
        self._make, self._of = make, dict[str, Certifier]()
        self._lock = threading.RLock()

    def choose(self, category: str, score: float, vouched: bool = False) -> tuple[Ruling, Certified]:
        """And what it went by."""
        with self._lock:
            certifier = self._named(category)
            certified = certifier.certified
            return certifier.choose(score, vouched), certified

    def observe(self, category: str, score: float, right: bool, ruling: Ruling) -> None:
        with self._lock:
            self._named(category).observe(score, right, ruling)

    def count_exact(self, category: str) -> None:
        with self._lock:
            self._named(category).count_exact()

    def certified(self, category: str) -> Certified:
        with self._lock:
            return self._named(category).certified

    def between(self, do: Callable[[], str]) -> str:
        """What `do` gives while nobody else asks or tells."""
        with self._lock:
            return do()

    def _named(self, category: str) -> Certifier:
        if category not in self._of:
            self._of[category] = self._make(category)
        return self._of[category]
