"""Policy: all categories, and which of them a query is of."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from kvstore.errors import InvalidRequest
from semantic_cache.category import DEFAULT, Category, Mode, Rule
from semantic_cache.classifier import Classifier, NoClassifier
from semantic_cache.folded import folded
from semantic_cache.freshness import Barred, barred
from semantic_cache.query import Query


class By(StrEnum):
    """Who put a query into its category."""

    CALLER = "caller"
    RULE = "rule"
    KEYWORD = "keyword"
    CLASSIFIER = "classifier"
    NOBODY = "nobody"


@dataclass(frozen=True)
class Assigned:
    category: Category
    by: By
    why: str
    """For people to read."""

    @property
    def barred(self) -> str | None:
        """Why the query is neither searched for nor stored; None where it may be."""
        return None if self.category.allowed else f"category {self.category.name}: {self.why}"


@dataclass(frozen=True)
class Screened:
    """What the caller and the words of a query say, before its vector is known."""

    assigned: Assigned | None
    """Where that is enough; where it is barred it is always."""
    rules: tuple[Barred, ...]
    """That apply to it."""


class Policy:
    """Never changes: another one takes its place. Safe to use from several threads.

    Rules tighten only: by its words a query may go to a rule's category, which is stricter, whoever named another one.
    """

    def __init__(self, categories: Iterable[Category], classifier: Classifier | None = None) -> None:
        """The classifier knows these categories, or fewer; None leaves what nobody names to keywords and the default.

        Raises InvalidRequest where a name is there twice, and where `default` or a rule's category is missing, or a
        rule's category is semantic.
        """
        named = list(categories)
        self.categories: Mapping[str, Category] = {category.name: category for category in named}
        """By name, in the order given."""
        if len(self.categories) < len(named):
            raise InvalidRequest("two categories have the same name; give one of them another")
        for name in (DEFAULT, *Rule):
            if name not in self.categories:
                raise InvalidRequest(f"there is no category {name}; every policy needs one")
        for rule in Rule:
            if self.categories[rule].allowed and self.categories[rule].mode is not Mode.EXACT:
                raise InvalidRequest(
                    f"{rule}.mode is semantic; allowed is exact. A category whose queries of that kind may be "
                    f"answered in other words says keeps = [{rule.value!r}]"
                )
        self._classifier = classifier or NoClassifier()
        self._kept = frozenset(rule for category in named for rule in category.keeps)
        self._keywords = {folded(word): category for category in named for word in category.keywords}
        self._keyword = _any_of(self._keywords)

    def named(self, name: str) -> Category:
        """Raises InvalidRequest when there is none."""
        if name not in self.categories:
            nearest = difflib.get_close_matches(name[:64], self.categories, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"there are: {', '.join(self.categories)}"
            raise InvalidRequest(f"there is no category {name[:64]!r}; {hint}")
        return self.categories[name]

    def stored(self, name: str) -> Category:
        """That an answer was filed under, which may be gone since: it is the default's then."""
        return self.categories.get(name, self.categories[DEFAULT])

    def screen(self, query: Query) -> Screened:
        """Raises InvalidRequest when the caller named a category that there is not."""
        plain = folded(query.text)
        rules = barred(plain)
        known = self._known(query, plain)
        if known is not None:
            return Screened(self._ruled(known, rules), rules)
        for rule in rules:
            category = self.categories[rule.rule]
            if not category.allowed and rule.rule not in self._kept:  # whatever the vector says, it ends there
                return Screened(Assigned(category, By.RULE, rule.words), rules)
        return Screened(None, rules)

    def category_of(self, screened: Screened, vector: NDArray[np.float32]) -> Assigned:
        """`vector` is the query's, [dimension]."""
        if screened.assigned is not None:
            return screened.assigned
        claim = self._classifier.claim(vector)
        if claim is None or claim.category not in self.categories:
            unclaimed = Assigned(self.categories[DEFAULT], By.NOBODY, "no category claims it")
            return self._ruled(unclaimed, screened.rules)
        why = f"ahead of others by {claim.lead:.2f}"
        return self._ruled(Assigned(self.categories[claim.category], By.CLASSIFIER, why), screened.rules)

    def _known(self, query: Query, plain: str) -> Assigned | None:
        if query.category is not None:
            return Assigned(self.named(query.category), By.CALLER, "named by the caller")
        found = {word: self._keywords[word] for word in self._keyword.findall(plain)}
        barring = {word: category for word, category in found.items() if not category.allowed}
        claims = barring or found
        if not claims or (not barring and len({category.name for category in claims.values()}) > 1):
            return None
        word, category = next(iter(claims.items()))
        return Assigned(category, By.KEYWORD, f"keyword {word}")

    def _ruled(self, assigned: Assigned, rules: Iterable[Barred]) -> Assigned:
        """Where the rules leave it."""
        for rule in rules:
            if rule.rule not in assigned.category.keeps:
                category = _tightened(assigned.category, self.categories[rule.rule])
                if category is not assigned.category:
                    assigned = Assigned(category, By.RULE, rule.words)
        return assigned


def _tightened(category: Category, by: Category) -> Category:
    """The category of a rule in the place of another one, unless that is as strict already."""
    if not category.allowed or (by.allowed and category.mode is Mode.EXACT and category.kept_s <= by.kept_s):
        return category
    if by.allowed and category.kept_s < by.kept_s:
        return replace(by, ttl_s=min(category.ttl_s, by.ttl_s), ttl_stretch=1.0)
    return by


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    """The longest that is there, as whole words; of none, nothing."""
    longest_first = sorted(map(re.escape, words), key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(longest_first)})(?!\w)" if longest_first else r"(?!)")
