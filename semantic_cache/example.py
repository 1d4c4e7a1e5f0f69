"""An example: a stored answer that may be shown to a small model, which is asked something alike."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scope:
    """Who may see an example: it is never shown where any of the three differs."""

    tenant: str
    family: str
    """Models whose answers stand for each other's."""
    system: bytes
    """Digest of the system prompt, the tools and all else that makes an answer right (see `context_digest`)."""


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
    scope: Scope
    category: str
    asked: str
    answered: str
    cosine: float
    """Between what was asked then and what is asked now."""
    age_s: float
    past: Past = Past()

    @property
    def num_chars(self) -> int:
        return len(self.asked) + len(self.answered)
