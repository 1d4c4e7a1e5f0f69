"""Grouping: what is written together, cut so that a group is no larger than it may be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def groups(items: Iterable[T], size_of: Callable[[T], int], most_bytes: int) -> Iterator[list[T]]:
    """Consecutive runs of at most `most_bytes`, or of one larger item."""
    group: list[T] = []
    total = 0
    for item in items:
        size = size_of(item)
        if group and total + size > most_bytes:
            yield group
            group, total = [], 0
        group.append(item)
        total += size
    if group:
        yield group
