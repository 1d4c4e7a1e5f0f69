"""Judge contract: may the answer to one question answer another? And the naive one, which goes by the cosine alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True)
class Judgement:
    score: float
    """From 0 to 1, the higher the surer; what it is worth is learned by category (see certifier.py)."""
    conflicts: tuple[str, ...] = ()
    """What speaks against it, for people to read, behind its kind: "number: 14 is not 15"."""
    is_edit: bool = False
    """Whether the texts are the same but for the word or two that conflict."""


class Judge(ABC):
    """Says the same of the same texts, always. Safe to use from several threads; touches no disk and no network."""

    fingerprint: str
    """Of all that the scores depend on: what was learned of other scores says nothing of these."""
    vouches = False
    """Whether its scores mean the same whatever is asked, so that a category may trust the highest unproved."""

    @abstractmethod
    def judge(self, asked: str, stored: str, cosine: float) -> Judgement:
        """Of two last messages within one context, with the cosine of their vectors."""


class CosineJudge(Judge):
    """Serves what is near. Measured: 7 to 60 % of such hits are wrong at thresholds in common use."""

    def __init__(self, embedder: str) -> None:
        """`embedder` is its fingerprint."""
        self.fingerprint = f"cosine of {embedder}"

    def judge(self, asked: str, stored: str, cosine: float) -> Judgement:
        return Judgement(min(max(cosine, 0.0), 1.0))
