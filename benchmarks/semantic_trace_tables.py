"""What a trace says: hit rate and wrong answers by policy, calibrated on its first half and tested on its second."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.report import Check, at_least, at_most
from benchmarks.semantic_ours import CATEGORIES, Clock, TraceReplay, in_memory, learning, shipped_policy, uniform_policy
from benchmarks.semantic_peer import THRESHOLDS, GPTCache
from benchmarks.semantic_trace import (
    CosineReplay,
    Request,
    Result,
    best_by_category,
    best_uniform,
    results_of,
    tally,
)
from benchmarks.semantic_vectors import TableEmbedder
from semantic_cache.cache import SemanticCache
from semantic_cache.certifiers import Certifiers
from semantic_cache.judge import CosineJudge, Judge
from semantic_cache.policy import Policy

MAX_WRONG = 0.01
EXACT, UNIFORM, BY_CATEGORY, OURS = "exact only", "uniform cosine", "cosine by category", "ours, category named"
EQUAL = "uniform cosine, in hindsight no more wrong than ours"
LEARNED = "uniform cosine, learned as ours"
_FLOOR = 0.6


def trace_tables(
    requests: Sequence[Request],
    embedder: TableEmbedder,
    judge: Judge,
    peer: GPTCache | None,
) -> tuple[list[dict[str, Any]], list[Check]]:
    """In all, and by category, of the second half."""
    half = len(requests) // 2
    replay = CosineReplay(requests, embedder)
    ways = _of_cosines(replay, requests, half) | _of_ours(requests, half, embedder, judge)
    ours = tally(ways[OURS][half:])
    ways[EQUAL] = _equally_wrong(replay, half, ours.wrong_share)
    if peer is not None:
        for threshold in THRESHOLDS[:2]:
            asked = [(request.tenant, request.text, request.cluster) for request in requests]
            answers = peer.ask("replay", requests=asked, live_from=half, threshold=threshold)
            ways[f"GPTCache {threshold}"] = results_of(requests, answers)
    second = {way: results[half:] for way, results in ways.items()}
    rows = [
        {"corpus": "trace, second half", "way": way, **_numbers(results, second)} for way, results in second.items()
    ]
    return rows + _by_category(requests[half:], second), _checks(second)


def _of_cosines(replay: CosineReplay, requests: Sequence[Request], half: int) -> dict[str, list[Result]]:
    categories = {request.category for request in requests}
    nothing = replay.run({}, half, apart=False)
    nothing_apart = replay.run({}, half, apart=True)
    num_exact = nothing.results[:half].count(Result.EXACT)
    uniform = best_uniform(nothing.nearest[:half], num_exact, MAX_WRONG)
    by_category = best_by_category(nothing_apart.nearest[:half], num_exact, MAX_WRONG)
    return {
        EXACT: nothing.results,
        UNIFORM: replay.run(dict.fromkeys(categories, uniform), half, apart=False).results,
        BY_CATEGORY: replay.run(by_category, half, apart=True).results,
    }


def _equally_wrong(replay: CosineReplay, half: int, max_wrong: float) -> list[Result]:
    """The threshold that would have been best in the second half itself."""
    nearest = replay.run({}, half, apart=False).nearest[half:]
    candidates = sorted({round(near.score, 3) for near in nearest if near and near.score > 0.8}, reverse=True)
    best, most = replay.run({}, half, apart=False).results, 0.0
    for threshold in candidates[:: max(1, len(candidates) // 60)]:
        results = replay.run(dict.fromkeys(CATEGORIES, threshold), half, apart=False).results
        found = tally(results[half:])
        if found.wrong_share <= max_wrong and found.hit_rate > most:
            best, most = results, found.hit_rate
    return best


def _of_ours(
    requests: Sequence[Request],
    half: int,
    embedder: TableEmbedder,
    judge: Judge,
) -> dict[str, list[Result]]:
    policy = shipped_policy(embedder)
    replay = TraceReplay(requests, _maker(embedder, judge, policy))
    return {
        OURS: replay.calibrated(learning(judge, embedder, policy), half, named=True),
        "ours, category found": replay.calibrated(learning(judge, embedder, policy), half, named=False),
        "ours, online, category named": replay.online(learning(judge, embedder, policy), named=True),
        LEARNED: _uniform(requests, half, embedder),
    }


def _uniform(requests: Sequence[Request], half: int, embedder: TableEmbedder) -> list[Result]:
    """Ours, but for one threshold of the cosine in the place of categories and what judges and guards see."""
    policy, judge = uniform_policy(_FLOOR), CosineJudge(embedder.fingerprint)
    replay = TraceReplay(requests, _maker(embedder, judge, policy))
    return replay.calibrated(learning(judge, embedder, policy), half, named=False)


def _maker(
    embedder: TableEmbedder, judge: Judge, policy: Policy, load: float = 0.0
) -> Callable[[Certifiers, Clock], SemanticCache]:
    return lambda certifiers, clock: in_memory(embedder, judge, policy, certifiers, clock, load)


def _numbers(results: Sequence[Result], beside: Mapping[str, Sequence[Result]]) -> dict[str, Any]:
    found, exact = tally(results), tally(beside[EXACT])
    return {
        "hit_rate": found.hit_rate,
        "gain": found.hit_rate - exact.hit_rate,
        "wrong_of_served": found.wrong_share,
        "wrong_of_semantic": found.semantic_wrong_share,
        "wrong": found.wrong,
        "semantic": found.right + found.wrong,
    }


def _by_category(requests: Sequence[Request], ways: Mapping[str, Sequence[Result]]) -> list[dict[str, Any]]:
    rows = []
    for category in sorted({request.category for request in requests}):
        places = [place for place, request in enumerate(requests) if request.category == category]
        of_category = {way: [results[place] for place in places] for way, results in ways.items()}
        rows += [
            {"corpus": f"trace, {category}", "way": way, **_numbers(results, of_category)}
            for way, results in of_category.items()
        ]
    return rows


def _checks(ways: Mapping[str, Sequence[Result]]) -> list[Check]:
    gains = {way: tally(results).hit_rate - tally(ways[EXACT]).hit_rate for way, results in ways.items()}
    return [
        at_most("trace: wrong of served", tally(ways[OURS]).wrong_share, MAX_WRONG, 0.005),
        at_least("trace: gain, of uniform's at equal error", _ratio(gains[OURS], gains[EQUAL]), 1.7, 2.5),
        at_least("trace: gain, of uniform's learned as ours", _ratio(gains[OURS], gains[LEARNED]), 1.7, 2.5),
        at_least("trace: gain, of uniform's at its empirical 1 %", _ratio(gains[OURS], gains[UNIFORM]), 1.7, 2.5),
    ]


def _ratio(gain: float, of: float) -> float:
    return gain / of if of > 0 else float("inf" if gain > 0 else "nan")
