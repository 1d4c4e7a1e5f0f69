"""Certifier contract: from which score on is an answer served, so that few are wrong? And one that guesses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum


class Choice(StrEnum):
    SERVE = "serve"
    CHECK = "check"
    """Serve, compute beside it, and tell the certifier whether what was served is right."""
    EXPLORE = "explore"
    """Compute, and tell the certifier whether the answer held would have been right."""
    MISS = "miss"


@dataclass(frozen=True)
class Ruling:
    """What became of one neighbour. Kept by whoever may hear later whether its answer was right."""

    choice: Choice
    chance: float = 0.0
    """Where its score has it served: the chance that it had of being checked, in (0, 1]."""
    on_trust: bool = False
    """Whether it is served though its score is not proved."""

    @property
    def serves(self) -> bool:
        return self.choice in (Choice.SERVE, Choice.CHECK)


@dataclass(frozen=True)
class Certified:
    """What is known of one category now."""

    threshold: float
    """The lowest score that is proved, and served; infinite while none is."""
    wrong: float
    """Share of what is served that is wrong, as estimated; exact answers are served too. NaN while nothing is known."""
    wrong_at_most: float
    """The same, at the confidence that was asked for; 1 of what is served on trust, or not at all."""
    semantic_wrong: float
    """Share that is wrong of what is served to other words, as estimated: exact answers hide it."""
    observed: int
    """Labels so far."""
    trusting: bool = False
    """Whether what somebody vouches for is served below the threshold as well."""

    def serves(self, score: float, vouched: bool) -> bool:
        """What is not explored."""
        return score >= self.threshold or (vouched and self.trusting)


class Certifier(ABC):
    """Of one category, one judge and one embedder.

    Keeps the promise that at the stated confidence at most `max_wrong` of the answers served are wrong, whenever one
    looks; exact answers, which are right, count among those served. Not safe to use from several threads.
    """

    @abstractmethod
    def choose(self, score: float, vouched: bool = False) -> Ruling:
        """What to do with a neighbour that scores so, from 0 to 1; `vouched`: it may be served before it is proved."""

    @abstractmethod
    def observe(self, score: float, right: bool, ruling: Ruling) -> None:
        """Of a neighbour that was served, or explored, it is known now whether its answer is right.

        `ruling` is what `choose` said of it. Of what was explored or checked, every label is to be told, right or
        wrong; of what else was served people tell as they like, so there only "wrong" teaches anything.
        """

    @abstractmethod
    def count_exact(self) -> None:
        """One more answer was served to the same question in the same words."""

    @property
    @abstractmethod
    def certified(self) -> Certified:
        """As of now."""


class FixedThreshold(Certifier):
    """Serves from one score on, and all that is vouched for. It learns nothing, and promises nothing either."""

    def __init__(self, threshold: float) -> None:
        self._certified = Certified(threshold, float("nan"), 1.0, float("nan"), 0, trusting=True)

    def choose(self, score: float, vouched: bool = False) -> Ruling:
        served = vouched or score >= self._certified.threshold
        return Ruling(Choice.SERVE if served else Choice.MISS)

    def observe(self, score: float, right: bool, ruling: Ruling) -> None:
        return None

    def count_exact(self) -> None:
        return None

    @property
    def certified(self) -> Certified:
        return self._certified
