"""Is the stated bound on wrong answers true? Over a long stream of requests, with labels from exploring alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.report import Check, at_most
from benchmarks.semantic_ours import CATEGORIES, TraceReplay, in_memory, learning, shipped_policy
from benchmarks.semantic_trace import Request, Result, longer, tally
from benchmarks.semantic_vectors import TableEmbedder
from semantic_cache.judge import Judge


def bound_table(
    requests: Sequence[Request], embedder: TableEmbedder, judge: Judge, count: int
) -> tuple[list[dict[str, Any]], list[Check]]:
    """A row for each category, and one for all, of so many requests."""
    policy, stream = shipped_policy(embedder), longer(requests, count)
    certifiers = learning(judge, embedder, policy)
    replay = TraceReplay(stream, lambda certifiers, clock: in_memory(embedder, judge, policy, certifiers, clock))
    results = replay.online(certifiers, named=True)
    rows = []
    for theirs, ours in CATEGORIES.items():
        of_category = [result for each, result in zip(stream, results, strict=True) if each.category == theirs]
        found, certified = tally(of_category), certifiers.certified(ours)
        rows.append(
            {
                "corpus": f"stated bound and truth, {count} requests",
                "category": ours,
                "hit_rate": found.hit_rate,
                "semantic": found.right + found.wrong,
                "wrong": found.wrong,
                "wrong_of_served": found.wrong_share,
                "stated": certified.wrong,
                "stated_at_most": certified.wrong_at_most,
                "allowed": policy.stored(ours).max_wrong,
                "labels": certified.observed,
                "threshold": certified.threshold,
            }
        )
    found = tally(results)
    return rows, [
        at_most(f"wrong of served in a stream of {count}", found.wrong_share, 0.01, 0.005),
        at_most(f"wrong of served in a stream of {count}, at its worst moment", _worst(results), 0.01),
    ]


def _worst(results: Sequence[Result]) -> float:
    """Share of all served so far that is wrong, when that was highest, once 500 were served."""
    served = wrong = 0
    worst = 0.0
    for result in results:
        served, wrong = served + (result is not Result.MISS), wrong + (result is Result.WRONG)
        if served >= 500:
            worst = max(worst, wrong / served)
    return worst
