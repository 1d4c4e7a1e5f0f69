"""Certifiers: one of each category, made when it is first asked for, and kept in a file from one start to the next."""

from __future__ import annotations

import threading
from collections.abc import Callable

from semantic_cache.certifier import Certified, Certifier, Choice


class Certifiers:
    """By category. Safe to use from several threads."""

    def __init__(self, make: Callable[[str], Certifier]) -> None:
        """`make` gives that of a category: new, or as it was kept."""
        self._make, self._of = make, dict[str, Certifier]()
        self._lock = threading.Lock()

    def choose(self, category: str, score: float) -> tuple[Choice, Certified]:
        """And what it went by."""
        with self._lock:
            certifier = self._named(category)
            return certifier.choose(score), certifier.certified

    def observe(self, category: str, score: float, right: bool) -> None:
        with self._lock:
            self._named(category).observe(score, right)

    def count_exact(self, category: str) -> None:
        with self._lock:
            self._named(category).count_exact()

    def certified(self, category: str) -> Certified:
        with self._lock:
            return self._named(category).certified

    def _named(self, category: str) -> Certifier:
        if category not in self._of:
            self._of[category] = self._make(category)
        return self._of[category]
