"""What the adaptive policy saves when the model is loaded: lower floors and older answers, no more wrong ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.report import Check, at_most
from benchmarks.semantic_ours import Clock, TraceReplay, in_memory, learning, shipped_policy
from benchmarks.semantic_trace import Request, tally
from benchmarks.semantic_vectors import TableEmbedder
from semantic_cache.cache import SemanticCache
from semantic_cache.certifiers import Certifiers
from semantic_cache.judge import Judge
from semantic_cache.policy import Policy

_MAX_WRONG = 0.01
_SECOND_S = 600.0  # so that the trace's 40 minutes are 16 days, in which answers do grow old


def load_table(
    requests: Sequence[Request],
    embedder: TableEmbedder,
    judge: Judge,
) -> tuple[list[dict[str, Any]], list[Check]]:
    """A row for each load, of the second half."""
    policy, half = shipped_policy(embedder), len(requests) // 2
    slow = [replace(request, at_s=request.at_s * _SECOND_S) for request in requests]
    rows, checks = list[dict[str, Any]](), list[Check]()
    for load in (0.0, 0.5, 1.0):
        replay = TraceReplay(slow, partial(_loaded, embedder, judge, policy, load))
        found = tally(replay.calibrated(learning(judge, embedder, policy), half, named=True)[half:])
        calls = found.requests - found.served
        at_rest = rows[0]["model_calls"] if rows else calls
        rows.append(
            {
                "corpus": "the model's load",
                "load": load,
                "hit_rate": found.hit_rate,
                "model_calls": calls,
                "fewer_calls": 1 - calls / at_rest,
                "wrong_of_served": found.wrong_share,
                "wrong_of_semantic": found.semantic_wrong_share,
            }
        )
        checks.append(at_most(f"wrong of served at load {load:g}", found.wrong_share, _MAX_WRONG))
    return rows, checks


def _loaded(
    embedder: TableEmbedder, judge: Judge, policy: Policy, load: float, certifiers: Certifiers, clock: Clock
) -> SemanticCache:
    return in_memory(embedder, judge, policy, certifiers, clock, load)
