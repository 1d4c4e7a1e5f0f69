"""InContext: who answers what the cache does not, the small model shown examples or the large one; and what came of it.

In-context reuse as in IC-Cache (Yu et al., arXiv 2501.12689): a selector (`examples.py`), a router
(`cautious_router.py`) and a replay (`replay.py`) as one, which learns from every answer that somebody judges.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kvstore.errors import CorruptFrame
from semantic_cache.cautious_router import CautiousRouter
from semantic_cache.example import Example
from semantic_cache.examples import Examples, Limits, Selection
from semantic_cache.query import Query
from semantic_cache.recent import Recent
from semantic_cache.replay import Replay
from semantic_cache.request import Request
from semantic_cache.router import Choice, Features, Model, Prices, Router
from semantic_cache.usefulness import Usefulness

_MOST_ANSWERS = 100_000
_ACCOUNTS_BYTES = 64 << 20  # of examples that were shown; beyond that those are forgotten that spare least


@dataclass(frozen=True)
class Plan:
    """For one request. Whoever departs from it says so by `asking`."""

    selection: Selection
    choice: Choice
    load: float

    @property
    def request(self) -> Request:
        return self.choice.features.request

    @property
    def is_small(self) -> bool:
        return self.choice.model is Model.SMALL

    @property
    def shown(self) -> tuple[Example, ...]:
        return self.selection.examples if self.choice.examples else ()

    def asking(self, model: Model, examples: bool = False) -> Plan:
        """The same for another model; with no examples to show, none are."""
        shows = examples and bool(self.selection.examples)
        return replace(self, choice=replace(self.choice, model=model, examples=shows))


class InContext:
    """Safe to use from several threads; every method takes about a millisecond."""

    def __init__(
        self,
        categories: Sequence[str],
        limits: Limits | None = None,
        prices: Prices | None = None,
        router: Router | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`router` is a CautiousRouter unless given; `clock` says Unix time."""
        self._router = router or CautiousRouter(categories, prices)
        self._examples, self._replay = Examples(Usefulness(categories), limits), Replay(clock)
        self._given: Recent[str, tuple[str, Plan]] = Recent(_MOST_ANSWERS)
        self._lock = threading.Lock()
        self.num_lessons = 0
        """Answers that it learned from."""

    def plan(self, query: Query, category: str, candidates: Sequence[Example], load: float) -> Plan:
        """For a query that the cache does not answer; `load` is the large model's, from 0 to 1."""
        request = Request(category, len(query.text))
        with self._lock:
            known = [replace(each, past=self._replay.past(each.document_id)) for each in candidates]
            selection = self._examples.select(query.partition, request, known)
            nearest = max((each.cosine for each in selection.examples), default=0.0)
            features = Features(request, len(selection.examples), nearest, selection.gain)
            return Plan(selection, self._router.choose(features, load), load)

    def remember(self, plan: Plan, tenant: str) -> str:
        """That this tenant was answered so; the id that names the answer in feedback: 32 hex digits."""
        answer_id = secrets.token_hex(16)
        self._given.put(answer_id, (tenant, plan))
        return answer_id

    def feedback(self, answer_id: str, tenant: str, right: bool) -> bool:
        """Whether that answer was right. False for ids that are unknown, another tenant's, or used up."""
        given = self._given.get(answer_id)
        if given is None or given[0] != tenant or self._given.pop(answer_id) is None:
            return False
        self.learn(given[1], float(right))
        return True

    def learn(self, plan: Plan, quality: float) -> None:
        """What was chosen answered so well, from 0 to 1. Raises InvalidRequest on other numbers."""
        with self._lock:
            self._router.learn(plan.choice, quality)
            self.num_lessons += 1
            if plan.is_small:
                self._examples.usefulness.learn(plan.request, plan.shown, quality)
                for example in plan.shown:
                    self._account(example, quality, plan.selection.without, 1 / len(plan.shown))

    def due(self, budget_s: float) -> list[int]:
        """Documents to compute again while the large model has nothing better to do (see `Replay.due`)."""
        with self._lock:
            return self._replay.due(budget_s)

    def replayed(self, document_id: int, now: int | None) -> None:
        """It was computed again, and is the document `now`; None where it is none any more."""
        with self._lock:
            self._replay.replayed(document_id, now)

    def to_json(self) -> dict[str, Any]:
        """What `restore` takes, of what JSON has: some hundred numbers, and seven for each example that was shown."""
        with self._lock:
            return {
                "router": self._router.to_json(),
                "usefulness": self._examples.usefulness.to_json(),
                "replay": self._replay.to_json(),
            }

    def restore(self, said: Mapping[str, Any]) -> None:
        """Back to when `to_json` said so. Raises CorruptFrame on all else, and where the categories are others: what
        could be read is then known, the rest is learned anew."""
        with self._lock:
            try:
                self._replay.restore(said["replay"])
                self._examples.usefulness.restore(said["usefulness"])
                self._router.restore(said["router"])
            except (KeyError, TypeError) as error:
                raise CorruptFrame(f"this is not what was learned: {error!r}") from error

    def _account(self, example: Example, quality: float, without: float, share: float) -> None:
        if example.document_id not in self._replay:
            self._replay.add(example.document_id, example.num_chars, example.compute_s)
            self._replay.remove(self._replay.surplus(_ACCOUNTS_BYTES))
        self._replay.used(example.document_id, quality, without, share * example.compute_s)
