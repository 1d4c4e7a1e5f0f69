"""Budgets: an ErrorBudget for each share of wrong answers that a policy allows, kept in one file between two starts."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

from kvstore.errors import InvalidRequest
from semantic_cache.category import Category
from semantic_cache.certifier import Certifier
from semantic_cache.error_budget import ErrorBudget
from semantic_cache.learned_threshold import LearnedThreshold

_log = logging.getLogger(__name__)


class Budgets:
    """Categories with the same `max_wrong` share a budget: it goes where it buys most. Not safe to use from several
    threads, nor are the certifiers."""

    def __init__(self, scores: str, category_of: Callable[[str], Category]) -> None:
        """`scores` names what gives them: the judge's fingerprint and the embedder's. Others' labels say nothing."""
        self._scores, self._category_of = scores, category_of
        self._budgets: dict[float, ErrorBudget] = {}

    def certifier(self, category: str) -> Certifier:
        """Of a category: of its scores as its guards make them, which say nothing of what others would make."""
        policy = self._category_of(category)
        return LearnedThreshold(self._budget(policy.max_wrong), f"{category}, {policy.guards}")

    def learn(self, text: str) -> None:
        """Add what `to_json` said. What other scores taught is left; raises InvalidRequest for what it never says."""
        try:
            read = json.loads(text)
            scores, budgets = read["scores"], {float(name): str(said) for name, said in read["budgets"].items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InvalidRequest(f"what was learned cannot be read ({error}): learn anew") from error
        if scores != self._scores:
            _log.info("what was learned of other scores is left: thresholds are learned anew")
            return
        for max_wrong, said in budgets.items():
            self._budget(max_wrong).learn(said)

    def to_json(self) -> str:
        budgets = {str(max_wrong): budget.to_json() for max_wrong, budget in self._budgets.items()}
        return json.dumps({"scores": self._scores, "budgets": budgets})

    def _budget(self, max_wrong: float) -> ErrorBudget:
        if max_wrong not in self._budgets:
            self._budgets[max_wrong] = ErrorBudget(max_wrong)
        return self._budgets[max_wrong]


def read_learned(path: Path, budgets: Budgets) -> None:
    """What is in the file; one that is damaged is left aside, and all is learned anew."""
    if not path.exists():
        return
    try:
        budgets.learn(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        _log.warning("%s is not read, thresholds are learned anew: %s", path, error)


def write_learned(path: Path, text: str) -> None:
    """In whole, or not at all."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        _log.warning("what was learned is not kept in %s: %s", path, error)
