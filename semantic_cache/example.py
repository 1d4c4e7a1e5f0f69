"""An example: a stored answer that may be shown to a small model, which is asked something alike."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Past:
    """How an example did so far. What was long ago counts for less, so neither is a whole number."""

    tried: float = 0.0
    """Answers that it was shown for."""
    lift: float = 0.0
    """Their quality, summed, less what was expected without examples."""


@dataclass(frozen=True)
class Example:
    """A stored answer, seen from one request."""

    document_id: int
    partition: bytes
    """Of its query (`Query.partition`): it is never shown to who asks in another."""
    category: str
    asked: str
    answered: str
    cosine: float
    """Between what was asked then and what is asked now."""
    age_s: float
    compute_s: float
    """Time that the large model took for it."""
    past: Past = Past()

    @property
    def num_chars(self) -> int:
        return len(self.asked) + len(self.answered)
