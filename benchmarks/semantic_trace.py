"""A trace of requests with the right answer of each, replayed against thresholds of the cosine.

Every policy is replayed alike: until the trace's second half nothing is answered but the same words, and all else is
computed and kept, so that it is known what each neighbour would have been worth; then the policy answers.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.semantic_vectors import TableEmbedder

NOTHING = 2.0
"""A threshold that no cosine reaches."""
_PRICES = np.linspace(0.0, 60.0, 601)  # right answers that a wrong one costs, to be tried


@dataclass(frozen=True)
class Request:
    text: str
    tenant: str
    category: str
    cluster: str
    """Requests of one cluster have the same answer."""
    at_s: float


class Result(StrEnum):
    EXACT = "exact"
    RIGHT = "right"
    """Answered from before to other words, and rightly."""
    WRONG = "wrong"
    MISS = "miss"


def read_trace(file: Path) -> list[Request]:
    rows = map(json.loads, file.read_text().splitlines())
    return [Request(row["text"], row["tenant"], row["category"], row["cluster"], row["ts"]) for row in rows]


@dataclass(frozen=True)
class Tally:
    """Of some requests."""

    requests: int
    exact: int
    right: int
    wrong: int

    @property
    def served(self) -> int:
        return self.exact + self.right + self.wrong

    @property
    def hit_rate(self) -> float:
        return self.served / self.requests if self.requests else float("nan")

    @property
    def wrong_share(self) -> float:
        """Of the answers served."""
        return self.wrong / self.served if self.served else 0.0

    @property
    def semantic_wrong_share(self) -> float:
        """Of those served to other words, which exact ones hide."""
        semantic = self.right + self.wrong
        return self.wrong / semantic if semantic else 0.0


def tally(results: Iterable[Result]) -> Tally:
    every = list(results)
    return Tally(len(every), every.count(Result.EXACT), every.count(Result.RIGHT), every.count(Result.WRONG))


def results_of(requests: Sequence[Request], answers: Sequence[str | None]) -> list[Result]:
    """Of what was answered from before, by cluster; None is computed, and kept."""
    computed, results = set[tuple[str, str]](), []
    for request, answer in zip(requests, answers, strict=True):
        key = request.tenant, request.text
        if answer is None:
            results.append(Result.MISS)
            computed.add(key)
        elif answer != request.cluster:
            results.append(Result.WRONG)
        else:
            results.append(Result.EXACT if key in computed else Result.RIGHT)
    return results


@dataclass(frozen=True)
class Near:
    """The nearest neighbour that a request had."""

    category: str
    score: float
    right: bool


@dataclass(frozen=True)
class Replayed:
    results: list[Result]
    nearest: list[Near | None]
    """None where the same words had been answered, or nothing was there."""


class CosineReplay:
    """A trace under thresholds of the cosine alone."""

    def __init__(self, requests: Sequence[Request], table: TableEmbedder) -> None:
        self._requests = requests
        self._rows: dict[tuple[str, str], int] = {}
        texts: dict[str, list[str]] = {}
        for request in requests:
            if (request.tenant, request.text) not in self._rows:
                of_tenant = texts.setdefault(request.tenant, [])
                self._rows[request.tenant, request.text] = len(of_tenant)
                of_tenant.append(request.text)
        vectors = {tenant: table.embed(of_tenant) for tenant, of_tenant in texts.items()}
        self._cosines = {tenant: each @ each.T for tenant, each in vectors.items()}  # [text, text]

    def run(self, thresholds: Mapping[str, float], live_from: int, apart: bool) -> Replayed:
        """`thresholds` by category; `apart`: neighbours are of the same category only."""
        held = {tenant: _HeldTexts(len(cosines)) for tenant, cosines in self._cosines.items()}
        results, nearest = [], []
        for place, request in enumerate(self._requests):
            texts, row = held[request.tenant], self._rows[request.tenant, request.text]
            near = None if texts.clusters[row] else texts.nearest(self._cosines[request.tenant][row], request, apart)
            threshold = thresholds.get(request.category, NOTHING) if place >= live_from else NOTHING
            if texts.clusters[row]:
                result = Result.EXACT
            elif near is not None and near.score >= threshold:
                result = Result.RIGHT if near.right else Result.WRONG
            else:
                result = Result.MISS
                texts.hold(row, request)
            results.append(result)
            nearest.append(near)
        return Replayed(results, nearest)


class _HeldTexts:
    """Of one tenant."""

    def __init__(self, num_texts: int) -> None:
        self.clusters = [""] * num_texts
        self._held: NDArray[np.bool_] = np.zeros(num_texts, bool)
        self._held_of: dict[str, NDArray[np.bool_]] = {}

    def hold(self, row: int, request: Request) -> None:
        self.clusters[row] = request.cluster
        self._held[row] = True
        self._held_of.setdefault(request.category, np.zeros_like(self._held))[row] = True

    def nearest(self, cosines: NDArray[np.float32], request: Request, apart: bool) -> Near | None:
        held = self._held_of.get(request.category) if apart else self._held
        if held is None or not held.any():
            return None
        best = int(np.where(held, cosines, -NOTHING).argmax())
        return Near(request.category, float(cosines[best]), self.clusters[best] == request.cluster)


def best_uniform(nearest: Iterable[Near | None], num_exact: int, max_wrong: float) -> float:
    """The threshold with most hits of which, with the exact ones, at most so many are wrong."""
    curve = _curve(near for near in nearest if near)
    allowed = [point for point in curve if point.wrong <= max_wrong * (num_exact + point.hits)]
    return max(allowed, key=lambda point: point.hits).threshold


def best_by_category(nearest: Iterable[Near | None], num_exact: int, max_wrong: float) -> dict[str, float]:
    """The same with a threshold for each category: those with which a wrong answer costs the same in all of them."""
    found = [near for near in nearest if near]
    curves = {
        name: _curve(near for near in found if near.category == name) for name in {near.category for near in found}
    }
    best, most = dict.fromkeys(curves, NOTHING), 0
    for price in _PRICES:
        points = {
            name: max(curve, key=lambda point: point.hits - price * point.wrong) for name, curve in curves.items()
        }
        hits, wrong = (sum(getattr(point, name) for point in points.values()) for name in ("hits", "wrong"))
        if wrong <= max_wrong * (num_exact + hits) and hits > most:
            best, most = {name: point.threshold for name, point in points.items()}, hits
    return best


@dataclass(frozen=True)
class _Point:
    threshold: float
    hits: int
    wrong: int


def _curve(nearest: Iterable[Near]) -> list[_Point]:
    """What each threshold serves, from the one that serves nothing on."""
    points, hits, wrong = [_Point(NOTHING, 0, 0)], 0, 0
    for near in sorted(nearest, key=lambda each: -each.score):
        hits, wrong = hits + 1, wrong + (not near.right)
        if points[-1].threshold == near.score:
            points.pop()
        points.append(_Point(near.score, hits, wrong))
    return points


def longer(requests: Sequence[Request], count: int, seed: int = 0) -> list[Request]:
    """These requests, then the same ones in other orders, each by another of the tenants, until there are so many."""
    choose, result = random.Random(seed), list(requests)
    tenants = sorted({request.tenant for request in requests})
    between_s = requests[-1].at_s / len(requests)
    while len(result) < count:
        for request in choose.sample(requests, len(requests)):
            at_s = result[-1].at_s + between_s
            result.append(replace(request, tenant=choose.choice(tenants), at_s=at_s))
    return result[:count]
