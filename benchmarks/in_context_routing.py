"""Requests routed: what is lost against the best fixed choice, how good answers stay, and who answers by load.

A simulation: whether an answer is good is drawn by the qualities of a mix of questions, half of the requests have no
example near them, and the large model's load is any. Halfway one kind of question becomes one that the
small model cannot answer any more. Worth is quality less the router's own prices at the load of the request. One mix
has the qualities that were measured; in the other, which is assumed, examples mostly make the small model good enough.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from benchmarks.report import Check, at_least, at_most
from semantic_cache.bandit import BanditRouter
from semantic_cache.request import Request
from semantic_cache.router import AlwaysLarge, Choice, Features, Model, Prices, Router

_LARGE_QUALITY = 0.95
_NEAR = 0.5
_EXPLORING = 0.02  # of worth, that looking for something better may cost where there is nothing


@dataclass(frozen=True)
class Qualities:
    """Of the small model's answers to one kind of question, from 0 to 1."""

    alone: float
    with_examples: float


@dataclass(frozen=True)
class Simulation:
    rows: list[dict[str, Any]]
    checks: list[Check]


@dataclass(frozen=True)
class Routed:
    """One request: what was chosen, what came of it, and what could have been had."""

    choice: Choice
    load: float
    quality: float
    """That is to be expected of the choice."""
    worth: float
    best_worth: float
    """Of the best choice, by one who knows the qualities."""


class Fixed(Router):
    """The small model, with examples wherever there are any, or never."""

    def __init__(self, examples: bool) -> None:
        self._examples = examples

    def choose(self, features: Features, load: float) -> Choice:
        return Choice(Model.SMALL, self._examples and features.num_examples > 0, features)

    def learn(self, choice: Choice, quality: float) -> None:
        return


_ASSUMED = {
    "as good with examples": Qualities(0.6, 0.95),
    "nearly as good": Qualities(0.5, 0.88),
    "good anyway": Qualities(0.93, 0.94),
    "helped too little": Qualities(0.3, 0.6),
    "harmed": Qualities(0.9, 0.7),
}


def routed(measured: Mapping[str, Qualities], num_requests: int, seed: int) -> Simulation:
    """Rows of every router over the same requests of either mix, and of the bandit by load and by half."""
    rows, checks = [], []
    for mix, qualities in {"measured": measured, "assumed": _ASSUMED}.items():
        results = _results(qualities, num_requests, seed)
        mix_rows = [{"mix": mix, "router": name} | _row(result) for name, result in results.items()]
        parts = _parts(results["bandit"])
        rows += mix_rows + [{"mix": mix, "the bandit": name} | _row(part) for name, part in parts.items()]
        checks += _checks(mix, mix_rows, parts)
    return Simulation(rows, checks)


def _results(qualities: Mapping[str, Qualities], num_requests: int, seed: int) -> dict[str, list[Routed]]:
    routers = {
        "small alone": Fixed(examples=False),
        "small with examples": Fixed(examples=True),
        "always large": AlwaysLarge(),
        "bandit": BanditRouter(list(qualities), Random(seed)),
    }
    return {name: _simulated(router, qualities, num_requests, seed) for name, router in routers.items()}


def _simulated(router: Router, qualities: Mapping[str, Qualities], num_requests: int, seed: int) -> list[Routed]:
    """The same requests for every router, however it draws."""
    chosen, result = Random(seed + 1), []
    kinds = list(qualities)
    failing = max(kinds, key=lambda kind: qualities[kind].with_examples)
    for turn in range(num_requests):
        kind, near, luck = chosen.choice(kinds), chosen.random() < _NEAR, chosen.random()
        fails = kind == failing and turn >= num_requests // 2
        load = chosen.random()
        features = Features(Request(kind, 60), 3, 0.8) if near else Features(Request(kind, 60))
        choice = router.choose(features, load)
        quality = _quality(choice, Qualities(0.0, 0.0) if fails else qualities[kind])
        router.learn(choice, float(luck < quality))
        result.append(_routed(choice, load, Qualities(0.0, 0.0) if fails else qualities[kind]))
    return result


def _routed(choice: Choice, load: float, known: Qualities) -> Routed:
    features = choice.features
    open_to_all = [Choice(Model.SMALL, False, features), Choice(Model.LARGE, False, features)]
    with_examples = [Choice(Model.SMALL, True, features)] if features.num_examples else []
    best = max(_worth(other, load, known) for other in [*open_to_all, *with_examples])
    return Routed(choice, load, _quality(choice, known), _worth(choice, load, known), best)


def _quality(choice: Choice, known: Qualities) -> float:
    if choice.model is Model.LARGE:
        return _LARGE_QUALITY
    return known.with_examples if choice.examples else known.alone


def _worth(choice: Choice, load: float, known: Qualities) -> float:
    return _quality(choice, known) - Prices().of(choice.model, choice.examples, load)


def _parts(requests: Sequence[Routed]) -> dict[str, list[Routed]]:
    half = len(requests) // 2
    return {
        "at a load below 1/3": [each for each in requests if each.load < 1 / 3],
        "at a load above 2/3": [each for each in requests if each.load > 2 / 3],
        "before the small model turns bad": list(requests[:half]),
        "after it": list(requests[half:]),
    }


def _row(requests: Sequence[Routed]) -> dict[str, Any]:
    return {
        "worth": statistics.mean(each.worth for each in requests),
        "regret": statistics.mean(each.best_worth - each.worth for each in requests),
        "quality": statistics.mean(each.quality for each in requests),
        "small": statistics.mean(each.choice.model is Model.SMALL for each in requests),
        "with_examples": statistics.mean(each.choice.examples for each in requests),
    }


def _checks(mix: str, rows: Sequence[Mapping[str, Any]], parts: Mapping[str, Sequence[Routed]]) -> list[Check]:
    worth = {row["router"]: row["worth"] for row in rows}
    best_fixed = max(value for name, value in worth.items() if name != "bandit")
    quality = {row["router"]: row["quality"] for row in rows}
    idle, busy = (_row(parts[name])["small"] for name in ("at a load below 1/3", "at a load above 2/3"))
    return [
        at_most(f"{mix}: worth of the best fixed choice less the bandit's", best_fixed - worth["bandit"], _EXPLORING),
        at_most(f"{mix}: quality lost to always asking the large", quality["always large"] - quality["bandit"], 0.05),
        at_least(f"{mix}: small model's share at high load less at low", busy - idle, 0.0),
    ]
