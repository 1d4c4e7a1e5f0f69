"""Router contract: does the small model answer, with examples or without, or the large one? And one that never dares.

In-context reuse as in IC-Cache (Yu et al., arXiv 2501.12689), whose router is a contextual bandit that leans to the
small model under load; ours is in `cautious_router.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kvstore.errors import InvalidRequest
from semantic_cache.request import Request


class Model(StrEnum):
    SMALL = "small"
    LARGE = "large"


@dataclass(frozen=True)
class Features:
    """What the routing of one request goes by."""

    request: Request
    num_examples: int = 0
    """That may be shown; without any, showing them is no choice."""
    cosine: float = 0.0
    """Of the nearest of them."""
    gain: float = 0.0
    """Quality that they are expected to bring (see `Selection`)."""


@dataclass(frozen=True)
class Choice:
    """For one request; `learn` takes it back with the quality that came of it."""

    model: Model
    examples: bool
    """Whether to show them."""
    features: Features


@dataclass(frozen=True)
class Prices:
    """The quality, from 0 to 1, that one would give for not having to do it."""

    examples: float = 0.01
    """To show examples: their prefill."""
    large: float = 0.03
    """To ask the large model while it is idle."""
    large_loaded: float = 0.15
    """To ask it at a load of 1; evenly more between."""

    def __post_init__(self) -> None:
        if not (0 <= self.large <= self.large_loaded and self.examples >= 0):
            raise InvalidRequest(f"no prices: {self}; none is below 0, and load does not make the large model cheaper")

    def of(self, model: Model, examples: bool, load: float) -> float:
        """At a load from 0 to 1."""
        shown = self.examples if examples else 0.0
        return shown if model is Model.SMALL else shown + self.large + load * (self.large_loaded - self.large)


class Router(ABC):
    """Not safe to use from several threads."""

    @abstractmethod
    def choose(self, features: Features, load: float) -> Choice:
        """`load` is the large model's, from 0, which is idle, to 1, which is all it can bear.

        More load never makes the large model likelier, all else alike. Raises InvalidRequest where load is no number.
        """

    @abstractmethod
    def learn(self, choice: Choice, quality: float) -> None:
        """What was chosen answered so well, from 0 to 1. Raises InvalidRequest on other numbers."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """What `restore` takes, of what JSON has."""

    @abstractmethod
    def restore(self, said: Mapping[str, Any]) -> None:
        """Back to when `to_json` said so. Raises CorruptFrame, and changes nothing, on all else."""


class AlwaysLarge(Router):
    """As without in-context reuse."""

    def choose(self, features: Features, load: float) -> Choice:
        checked_load(load)
        return Choice(Model.LARGE, False, features)

    def learn(self, choice: Choice, quality: float) -> None:
        if not 0 <= quality <= 1:
            raise InvalidRequest(f"a quality is from 0 to 1, not {quality}")

    def to_json(self) -> dict[str, Any]:
        return {}

    def restore(self, said: Mapping[str, Any]) -> None:
        return


def checked_load(load: float) -> float:
    """At most 1, which is all that can be borne. Raises InvalidRequest on what is below 0 or no number."""
    if not load >= 0:
        raise InvalidRequest(f"a load is from 0 to 1, not {load}")
    return min(load, 1.0)
