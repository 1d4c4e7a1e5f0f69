"""SemanticCache: answers to queries that were asked before, in the same words or in others that mean the same.

A cascade in which every stage may only say miss: barred, exact, category, neighbours, judge, certifier. An index in
memory and documents outside of it, so that a miss touches no disk, as in `Category-Aware Semantic Caching for
Heterogeneous LLM Workloads` (arXiv 2510.26835); what decides of a neighbour is our own (docs/decisions/0030).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from semantic_cache.break_even import BreakEven
from semantic_cache.candidates import Candidates
from semantic_cache.category import Category, Mode
from semantic_cache.certifier import Choice
from semantic_cache.certifiers import Certifiers
from semantic_cache.decision import Decision, Outcome
from semantic_cache.documents import Document
from semantic_cache.effective import effective
from semantic_cache.embedder import Embedder
from semantic_cache.given import Given, GivenAnswers
from semantic_cache.index import Neighbor
from semantic_cache.judge import Judge
from semantic_cache.policy import Assigned, Policy
from semantic_cache.query import Query
from semantic_cache.recent import Recent
from semantic_cache.shelf import Shelf
from semantic_cache.statistics import Statistics

NUM_NEIGHBORS = 5
"""That are looked for."""
_RECENT_QUERIES = 1024
_OUTCOMES = {
    Choice.SERVE: Outcome.SEMANTIC,
    Choice.CHECK: Outcome.SEMANTIC,
    Choice.EXPLORE: Outcome.EXPLORE,
    Choice.MISS: Outcome.MISS,
}
_WHY = {
    Choice.SERVE: "the same was asked in other words",
    Choice.CHECK: "the same was asked in other words",
    Choice.EXPLORE: "what such a score is worth is still being learned",
    Choice.MISS: "a neighbour's score is too low to be sure",
}


@dataclass(frozen=True)
class Near:
    """An answer to something like what is asked."""

    document_id: int
    document: Document
    cosine: float
    age_s: float


class SemanticCache:
    """Safe to use from several threads. Calls take milliseconds; none waits for a model.

    Raises TierUnavailable when the documents, or the embedder, cannot be reached, and InvalidRequest for a category
    that there is not.
    """

    def __init__(
        self,
        shelf: Shelf,
        embedder: Embedder,
        judge: Judge,
        policy: Callable[[], Policy],
        certifiers: Certifiers,
        load: Callable[[], float] = lambda: 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """All of them are the caller's to close.

        `policy` gives the one in effect, `load` the model's load from 0 to 1, `clock` Unix time.
        """
        self.shelf, self.certifiers, self.policy = shelf, certifiers, policy
        self.break_even, self.statistics = BreakEven(), Statistics(shelf.quotas)
        self._embedder, self._candidates, self._load, self._clock = embedder, Candidates(shelf, judge), load, clock
        self._vectors: Recent[bytes, NDArray[np.float32]] = Recent(_RECENT_QUERIES)
        self._given = GivenAnswers()

    def find(self, query: Query) -> Decision:
        """The answer held to this query, or why there is none. Counts in its category's statistics."""
        decision = self._find(query)
        self.statistics.count(decision.category, decision.outcome, decision.saved_s)
        return decision

    def add(self, query: Query, response: bytes, writer: str, compute_s: float, ttl_s: float | None = None) -> bool:
        """Keep an answer, in place of what the same words were answered before. False where that is barred."""
        policy = self.policy()
        screened = policy.screen(query)
        if screened.assigned and screened.assigned.barred:
            return False
        vector = self._vector(query)
        category = policy.category_of(screened, vector).category
        if not category.allowed:
            return False
        now_s = self._clock()
        expires_at_s = now_s + (category.kept_s if ttl_s is None else min(ttl_s, category.kept_s))
        self.shelf.put(Document(query, category.name, response, writer, now_s, expires_at_s, compute_s), vector)
        self.break_even.computed(category.name, compute_s)
        return True

    def alike(self, query: Query, others: Sequence[Query]) -> int | None:
        """Which of these queries, of its own partition and not answered yet, will have an answer that is served to it.

        None where none will. Nothing is learned from it, and nothing counted.
        """
        policy = self.policy()
        screened = policy.screen(query)
        vector = self._vector(query)
        assigned = policy.category_of(screened, vector)
        category, in_effect = assigned.category, effective(assigned.category, self._load())
        for number, other in enumerate(others):
            cosine = float(self._vector(other) @ vector)
            if cosine >= in_effect.floor:  # infinite where a category is barred, or for the same words only
                scored = self._candidates.scored(category, query.text, other.text, cosine)
                certified = self.certifiers.certified(category.name)
                if not scored.ruled_out and certified.serves(scored.score, scored.vouched):
                    return number
        return None

    def near(self, query: Query, category: str, k: int) -> list[Near] | None:
        """The nearest fresh answers of its own partition, best first: to be shown to a small model, not to be given.

        None where the category leaves its queries to the model that was asked, or is answered in the same words only.
        Nothing is counted.
        """
        policy, now_s, load = self.policy(), self._clock(), self._load()
        asked = policy.stored(category)
        if not asked.small_model or asked.mode is Mode.EXACT:
            return None
        found = []
        for neighbor, document in self.shelf.read(query, self.shelf.near(query, self._vector(query), k)):
            in_effect = effective(policy.stored(document.category), load)
            if in_effect.is_fresh(document.saved_at_s, document.expires_at_s, now_s):
                found.append(Near(neighbor.id, document, neighbor.cosine, now_s - document.saved_at_s))
        return found

    def feedback(self, hit_id: str, tenant: str, right: bool) -> bool:
        """Whether the answer named by `hit_id` is, or of one that was explored would have been, right.

        What was wrong is not given to these words again. False for ids that are unknown, another tenant's, or used up:
        each is good for once.
        """
        given = self._given.take(hit_id, tenant)
        if given is None:
            return False
        if given.score is not None and given.ruling is not None:
            self.certifiers.observe(given.category, given.score, right, given.ruling)
            if not right:
                self._given.set_apart(given)
        elif not right:
            self.shelf.drop([given.document_id])
        return True

    def drop(self, document_ids: Sequence[int]) -> int:
        """Forget answers, for good. How many were held."""
        return self.shelf.drop(document_ids)

    def drop_expired(self) -> int:
        """Forget what is too old, for good; to be called now and then. How many there were."""
        return self.shelf.drop_expired(self._clock())

    def _find(self, query: Query) -> Decision:
        policy = self.policy()
        screened = policy.screen(query)
        if screened.assigned and (why := screened.assigned.barred):
            return Decision(Outcome.BARRED, why, screened.assigned.category.name)
        if exact := self._exact(query, policy):
            return exact
        vector = self._vector(query)
        assigned = policy.category_of(screened, vector)
        if why := assigned.barred:
            return Decision(Outcome.BARRED, why, assigned.category.name)
        if why := self._why_not_searched(assigned):
            return Decision(Outcome.NOT_SEARCHED, why, assigned.category.name)
        started_s = time.thread_time()
        decision = self._near(query, vector, assigned.category, policy)
        learning = decision.certified is not None and math.isinf(decision.certified.threshold)
        found = decision.outcome is not Outcome.MISS or learning
        self.break_even.searched(decision.category, time.thread_time() - started_s, found)
        return decision

    def _exact(self, query: Query, policy: Policy) -> Decision | None:
        found = self.shelf.exact(query)
        if found is None:
            return None
        document_id, document = found
        category = policy.stored(document.category)
        in_effect = effective(category, self._load())
        if not in_effect.is_fresh(document.saved_at_s, document.expires_at_s, self._clock()):
            return None
        self.certifiers.count_exact(category.name)
        self.shelf.quotas.hit(document.category, document_id)
        hit_id = self._given.remember(Given(query.tenant, query.exact_key, document_id, category.name))
        return Decision(
            Outcome.EXACT, "the same was asked in the same words", category.name, document=document, hit_id=hit_id
        )

    def _why_not_searched(self, assigned: Assigned) -> str | None:
        name = assigned.category.name
        if assigned.category.mode is Mode.EXACT:
            return f"{assigned.why}: {name} is answered in the same words only"
        return None if self.break_even.worth_searching(name) else f"searching {name} does not pay at its hit rate"

    def _near(self, query: Query, vector: NDArray[np.float32], category: Category, policy: Policy) -> Decision:
        now_s, load = self._clock(), self._load()
        in_effect = effective(category, load)
        decided = partial(Decision, category=category.name, floor=in_effect.floor)
        neighbors = self.shelf.near(query, vector, NUM_NEIGHBORS)
        near = [each for each in neighbors if not self._given.is_apart(query, each.id)]
        best = self._candidates.best(query, category, near, policy, load, now_s)
        if best is None:
            return decided(Outcome.MISS, _how_near(neighbors, in_effect.floor))
        decided = partial(decided, considered=best.considered(now_s))
        if best.scored.ruled_out:
            return decided(Outcome.MISS, f"ruled out: {best.scored.ruled_out}")
        learned_of, score = best.category.name, best.scored.score
        ruling, certified = self.certifiers.choose(learned_of, score, best.scored.vouched)
        decided = partial(decided, _OUTCOMES[ruling.choice], _WHY[ruling.choice], certified=certified)
        if ruling.choice is Choice.MISS:
            return decided()
        if ruling.serves:
            self.shelf.quotas.hit(best.document.category, best.document_id)
        given = Given(query.tenant, query.exact_key, best.document_id, learned_of, score, ruling)
        check = ruling.choice is Choice.CHECK
        return decided(document=best.document, hit_id=self._given.remember(given), check=check)

    def _vector(self, query: Query) -> NDArray[np.float32]:
        vector = self._vectors.get(query.exact_key)
        if vector is None:
            vector = np.asarray(self._embedder.embed([query.text])[0])
            self._vectors.put(query.exact_key, vector)
        return vector


def _how_near(neighbors: Sequence[Neighbor], floor: float) -> str:
    if not neighbors:
        return "nothing was asked before in this context"
    if neighbors[0].cosine < floor:
        return f"the nearest neighbour's cosine of {neighbors[0].cosine:.3f} is below {floor:.3f}"
    return "the neighbours near enough are too old, known to be wrong here, or of a stricter category"
