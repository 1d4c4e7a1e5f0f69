"""Category: how queries of one kind are answered from before, and within which bounds load may change that."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum

from kvstore.errors import InvalidRequest

DEFAULT = "default"
"""The category of what no other one claims: the strictest of those that answer at all."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)


class Mode(StrEnum):
    EXACT = "exact"
    """Only to the same question in the same words."""
    SEMANTIC = "semantic"
    """To the same question in other words as well."""


class Guards(StrEnum):
    STRICT = "strict"
    """Any conflict between two questions (a number, a name, a negation) rules an answer out."""
    GRADED = "graded"
    """Conflicts make an answer less likely right, and what that is worth is learned: where people say the same with
    and without a "not", as of what does not work."""


class Rule(StrEnum):
    """What a query's words alone can say of it. Each is the category too that takes such queries from all others."""

    PERSONAL = "personal"
    """Holds what identifies a person, or a secret."""
    ACTIONS = "actions"
    """Asks for something to be done, which an answer from before does not do."""
    CURRENT = "current"
    """Asks for what is soon no longer so."""


@dataclass(frozen=True)
class Category:
    """Raises InvalidRequest, naming the value, where one is not allowed.

    What is left out is as strict as what claims nothing: similarity alone, without evidence, serves nothing.
    """

    name: str
    """Lower-case letters, digits and `_`."""
    description: str = ""
    """For people to read."""
    allowed: bool = True
    """False: its queries are neither searched for nor stored."""
    mode: Mode = Mode.SEMANTIC
    guards: Guards = Guards.STRICT
    floor: float = 0.98
    """The lowest cosine of a neighbour that is looked at; whether it is served is the certifier's to say as well."""
    floor_drop: float = 0.0
    """By how much full load lowers the floor."""
    least_floor: float = 0.0
    """Below which load never lowers it."""
    ttl_s: float = 86400.0
    """How old an answer may be; infinite for ever."""
    ttl_stretch: float = 1.0
    """How many times older under full load."""
    quota: float = 0.05
    """What it holds at most, as a share of the entries and of the bytes of the whole."""
    max_wrong: float = 0.01
    """How many of the answers served may be wrong. Load never changes this."""
    trusted: float = math.inf
    """The score from which on answers are served before anything is known of them, until one was wrong; infinite to
    compute and compare until it is known. Load never changes this."""
    small_model: bool = True
    """Whether a small model may answer what is not held, where there is one (see `in_context.py`)."""
    keeps: frozenset[Rule] = frozenset()
    """Rules by which its queries stay its own, instead of going to the rule's category."""
    keywords: tuple[str, ...] = ()
    """Words or phrases that make a query its own, in any case."""
    examples: tuple[str, ...] = ()
    """Queries of this kind, from which others are told."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidRequest(f"a category is named {self.name!r}; allowed are up to 64 of a-z, 0-9 and _")
        self._check("floor", 0.0, 1.0)
        self._check("floor_drop", 0.0, 1.0)
        self._check("least_floor", 0.0, 1.0)
        self._check("ttl_s", 0.0, math.inf)
        self._check("ttl_stretch", 1.0, 1000.0)
        self._check("quota", 0.0, 1.0)
        self._check("max_wrong", 0.0, 0.5)
        self._check("trusted", 0.0, math.inf)

    @property
    def kept_s(self) -> float:
        """How long what is stored can be of use: until then it expires nowhere."""
        return self.ttl_s * self.ttl_stretch

    @property
    def strictness(self) -> tuple[bool, bool, float, bool]:
        """The greater, the less is answered from before."""
        return not self.allowed, self.mode is Mode.EXACT, -self.max_wrong, self.guards is Guards.STRICT

    def _check(self, field: str, low: float, high: float) -> None:
        value = getattr(self, field)
        if not low <= value <= high:
            raise InvalidRequest(f"{self.name}.{field} is {value!r}; allowed is a number from {low:g} to {high:g}")
