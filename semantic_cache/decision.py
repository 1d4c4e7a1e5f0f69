"""What is decided of a query, and why, so that people can ask."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from semantic_cache.certifier import Certified
from semantic_cache.documents import Document


class Outcome(StrEnum):
    EXACT = "exact"
    """The same was asked, in the same words: `document` answers."""
    SEMANTIC = "semantic"
    """The same was asked, in other words: `document` answers."""
    EXPLORE = "explore"
    """Compute, then say by `SemanticCache.feedback` whether `document` would have been right."""
    MISS = "miss"
    NOT_SEARCHED = "not searched"
    """A miss too: other words do not count here, or looking for them does not pay."""
    BARRED = "barred"
    """Neither answered from before nor kept."""


@dataclass(frozen=True)
class Considered:
    """The stored query that came nearest, of those that nothing rules out; else of all."""

    text: str
    category: str
    """The stricter one of the two queries', by which it was judged."""
    cosine: float
    score: float
    vouched: bool
    """Whether the judge was so sure that the category trusts it."""
    conflicts: tuple[str, ...]
    age_s: float


@dataclass(frozen=True)
class Decision:
    """Of one query at one moment."""

    outcome: Outcome
    why: str
    """One sentence, for people."""
    category: str
    floor: float = 1.0
    """The cosine from which on a neighbour was looked at."""
    document: Document | None = None
    check: bool = False
    """Of a hit: compute beside it, then say by `SemanticCache.feedback` whether `document` is right."""
    hit_id: str = ""
    """What feedback names; empty where there is nothing to say of it."""
    considered: Considered | None = None
    certified: Certified | None = None
    """What the category's labels allowed."""

    @property
    def hit(self) -> bool:
        return self.outcome in (Outcome.EXACT, Outcome.SEMANTIC)

    @property
    def is_compared(self) -> bool:
        """Whether the model is asked too, and feedback says whether `document` is right."""
        return self.check or self.outcome is Outcome.EXPLORE

    @property
    def saved_s(self) -> float:
        """Of the model, which is not asked."""
        return self.document.compute_s if self.hit and self.document is not None and not self.check else 0.0
