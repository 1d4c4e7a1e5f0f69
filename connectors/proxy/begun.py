"""Begun: what an answer begins with, before its body: that the cache has it, or what a model's server said."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.proxy.keeping import Stored
from connectors.proxy.passing import RawHeaders
from connectors.proxy.stand_in import Planned
from semantic_cache.decision import Decision

SMALL = "small"
"""How answers of the small model are counted."""


@dataclass(frozen=True)
class Hit:
    """The cache answers."""

    decision: Decision
    stored: Stored
    age_s: float


@dataclass(frozen=True)
class Head:
    """The upstream answers: what stands before its body."""

    status: int
    headers: RawHeaders
    cache: str
    why: str
    decision: Decision | None
    planned: Planned | None = None
    """Where a small model could have been asked: which one was."""

    @property
    def counted_as(self) -> str:
        return SMALL if self.planned is not None and self.planned.plan.is_small else self.cache


Begun = Hit | Head
