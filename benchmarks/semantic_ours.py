"""The semantic cache as it comes, over vectors that were had before, and what it decides of pairs and of a trace."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.semantic_pairs import Pair
from benchmarks.semantic_trace import NOTHING, Request, Result
from benchmarks.semantic_vectors import TableEmbedder
from semantic_cache.budgets import Budgets
from semantic_cache.cache import SemanticCache
from semantic_cache.category import Rule
from semantic_cache.certifier import Choice, FixedThreshold, Ruling
from semantic_cache.certifiers import Certifiers
from semantic_cache.classifier import ExampleClassifier
from semantic_cache.decision import Decision, Outcome
from semantic_cache.documents import Documents
from semantic_cache.embedder import Embedder
from semantic_cache.flat_index import FlatIndex
from semantic_cache.index import VectorIndex
from semantic_cache.judge import Judge
from semantic_cache.learned_judge import THRESHOLD, open_judge
from semantic_cache.looks import Looks
from semantic_cache.memory_documents import MemoryDocuments
from semantic_cache.onnx_embedder import OnnxEmbedder
from semantic_cache.policy import Policy
from semantic_cache.query import Query
from semantic_cache.quota import Quotas
from semantic_cache.shelf import Shelf
from semantic_cache.shipped import SHIPPED

CUT = THRESHOLD
"""The score from which on is served where nothing is learned; that of `trusted` categories."""
CATEGORIES = {
    "general": "general",
    "product_docs": "docs",
    "finance_support": "support",
    "medical": "medical",
    "assistant_intent": "assistant",
}
"""Of the trace's, ours."""
MODEL_S = 60.0  # so that looking for an answer always pays, however busy the machine is
_LOOKS = 20_000
_ENTRIES, _BYTES = 10**7, 1 << 40  # so many that quotas have no say


def judge_of(model: OnnxEmbedder) -> Judge:
    """That it comes with; it looks at each text once."""
    return open_judge(Looks(model.look, _LOOKS).look, model.fingerprint)


def example_texts() -> list[str]:
    """What the shipped policy is learned from."""
    return [text for category in SHIPPED for text in category.examples]


def shipped_policy(embedder: TableEmbedder, **changed: Any) -> Policy:
    """As it comes, but for what is the same in all categories: `floor`, `trusted`."""
    classifier = ExampleClassifier.learned({category.name: category.examples for category in SHIPPED}, embedder)
    return Policy([replace(category, **changed) for category in SHIPPED], classifier)


def uniform_policy(floor: float) -> Policy:
    """One category for all, and the rules that every policy has."""
    ruled = [category for category in SHIPPED if category.name in set(Rule)]
    return Policy([replace(SHIPPED[-1], floor=floor, trusted=math.inf), *ruled])


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


def cache_of(
    documents: Documents,
    index: VectorIndex,
    embedder: Embedder,
    judge: Judge,
    policy: Policy,
    certifiers: Certifiers,
    clock: Callable[[], float],
    load: float = 0.0,
) -> SemanticCache:
    """Over what is held already."""
    quotas = Quotas(_ENTRIES, _BYTES, lambda name: policy.stored(name).quota)
    return SemanticCache(
        Shelf(documents, index, quotas), embedder, judge, lambda: policy, certifiers, lambda: load, clock
    )


def in_memory(
    embedder: Embedder,
    judge: Judge,
    policy: Policy,
    certifiers: Certifiers,
    clock: Callable[[], float],
    load: float = 0.0,
) -> SemanticCache:
    """Empty, and looked at whole."""
    index = FlatIndex(embedder.dimension)
    return cache_of(MemoryDocuments(), index, embedder, judge, policy, certifiers, clock, load)


def trusting() -> Certifiers:
    """Serve what is vouched for, and nothing else, whatever comes of it."""
    return Certifiers(lambda name: FixedThreshold(NOTHING))


def learning(judge: Judge, embedder: Embedder, policy: Policy) -> Certifiers:
    """As it comes: before labels prove more, only the scores are served that a category trusts."""
    budgets = Budgets(f"{judge.fingerprint}, {embedder.fingerprint}", policy.stored)
    return Certifiers(budgets.certifier)


def decisions(
    pairs: Sequence[Pair], embedder: TableEmbedder, judge: Judge, policy: Policy, certifiers: Certifiers
) -> list[Decision]:
    """Of each pair, with nothing else in the cache."""
    cache = in_memory(embedder, judge, policy, certifiers, Clock())
    found = []
    for number, pair in enumerate(pairs):
        tenant = str(number)
        cache.add(Query(pair.stored, pair.stored_context, tenant=tenant), b"answer", "", 1.0)
        found.append(cache.find(Query(pair.asked, pair.asked_context, tenant=tenant)))
    return found


class TraceReplay:
    """A trace through the cache."""

    def __init__(self, requests: Sequence[Request], make: Callable[[Certifiers, Clock], SemanticCache]) -> None:
        """`make` gives an empty cache."""
        self._requests, self._make = requests, make
        self._clusters = {request.text: request.cluster for request in requests}

    def calibrated(self, certifiers: Certifiers, live_from: int, named: bool) -> list[Result]:
        """Until `live_from` only the same words are answered, and what the neighbours were worth is told.

        `named`: the caller says the category, as the trace has it.
        """
        clock = Clock()
        cache = self._make(certifiers, clock)
        results = []
        for place, request in enumerate(self._requests):
            clock.now_s = request.at_s
            query = _query(request, named)
            decision = cache.find(query)
            if place < live_from and decision.outcome is not Outcome.EXACT:
                self._tell(certifiers, request, decision)
                result = Result.MISS
            else:
                result = self._result(cache, request, decision)
            if result is Result.MISS or decision.check:
                cache.add(query, request.cluster.encode(), request.tenant, MODEL_S)
            results.append(result)
        return results

    def online(self, certifiers: Certifiers, named: bool) -> list[Result]:
        """From nothing: labels come from what the certifiers have explored and checked."""
        clock = Clock()
        cache = self._make(certifiers, clock)
        results = []
        for request in self._requests:
            clock.now_s = request.at_s
            query = _query(request, named)
            decision = cache.find(query)
            result = self._result(cache, request, decision)
            if result is Result.MISS or decision.check:
                cache.add(query, request.cluster.encode(), request.tenant, MODEL_S)
            results.append(result)
        return results

    def _result(self, cache: SemanticCache, request: Request, decision: Decision) -> Result:
        """What was explored is compared with what the model says, which the cache then learns."""
        if decision.document is None:
            return Result.MISS
        right = decision.document.response == request.cluster.encode()
        if decision.is_compared:
            cache.feedback(decision.hit_id, request.tenant, right)
        if decision.outcome is Outcome.EXPLORE:
            return Result.MISS
        if not right:
            return Result.WRONG
        return Result.EXACT if decision.outcome is Outcome.EXACT else Result.RIGHT

    def _tell(self, certifiers: Certifiers, request: Request, decision: Decision) -> None:
        near = decision.considered
        if near is not None and decision.certified is not None:
            right = self._clusters[near.text] == request.cluster
            certifiers.observe(near.category, near.score, right, Ruling(Choice.EXPLORE, on_trust=near.vouched))


def _query(request: Request, named: bool) -> Query:
    return Query(request.text, tenant=request.tenant, category=CATEGORIES[request.category] if named else None)
