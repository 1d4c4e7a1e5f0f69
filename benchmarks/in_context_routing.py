"""Who answers: the router's choices between a small model's answers, as they were given, and the truth.

Streams of the same questions in any order, the large model's load any from 0 to 1. The router knows nothing at first,
and learns as the proxy does: of one answer in ten the other model is asked too.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from benchmarks.in_context_tasks import TASKS
from semantic_cache.cautious_router import CautiousRouter
from semantic_cache.router import Choice, Features, Model

_COMPARED, _STREAMS = 0.1, 5
_GOOD = 0.97


@dataclass(frozen=True)
class Routable:
    """A question, and how well the small model answered it."""

    features: Features
    alone: float
    with_examples: float

    def quality(self, choice: Choice) -> float:
        if choice.model is Model.LARGE:
            return 1.0
        return self.with_examples if choice.examples else self.alone


@dataclass(frozen=True)
class _Routed:
    choice: Choice
    load: float
    quality: float


def routed(questions: Sequence[Routable], num_requests: int, seed: int) -> list[dict[str, Any]]:
    """Rows of the fixed choices, of who knows which task's answers are good, and of the router as it learns."""
    streams = [_stream(questions, num_requests, Random(seed + number)) for number in range(_STREAMS)]
    first = [each for stream in streams for each in stream[: num_requests // 5]]
    last = [each for stream in streams for each in stream[-num_requests // 5 :]]
    fixed: dict[str, Callable[[Routable], Choice]] = {
        "large": lambda each: Choice(Model.LARGE, False, each.features),
        "small": lambda each: Choice(Model.SMALL, False, each.features),
        "small with examples": lambda each: Choice(Model.SMALL, True, each.features),
        "who knows": _knowing(questions),
    }
    rows = {
        name: [_Routed(choose(each), 0.0, each.quality(choose(each))) for each in questions]
        for name, choose in fixed.items()
    } | {
        "router, first fifth": first,
        "router, last fifth": last,
        "at a load below 1/3": [each for each in last if each.load < 1 / 3],
        "at a load above 2/3": [each for each in last if each.load > 2 / 3],
    }
    return [_row(name, answers) for name, answers in rows.items()]


def _stream(questions: Sequence[Routable], num_requests: int, chosen: Random) -> list[_Routed]:
    """Of a router that knows nothing at first."""
    router, result = CautiousRouter(list(TASKS)), []
    for each in chosen.choices(questions, k=num_requests):
        load = chosen.random()
        choice = router.choose(each.features, load)
        result.append(_Routed(choice, load, each.quality(choice)))
        if chosen.random() < _COMPARED:
            shows = choice.examples or (choice.model is Model.LARGE and chosen.random() < 0.5)
            small = replace(choice, model=Model.SMALL, examples=shows and each.features.num_examples > 0)
            router.learn(small, each.quality(small))
    return result


def _knowing(questions: Sequence[Routable]) -> Callable[[Routable], Choice]:
    """Leaves to the small model the tasks that it does well, in the better way."""

    def choose(asked: Routable) -> Choice:
        same = [each for each in questions if each.features.request.category == asked.features.request.category]
        means = {
            False: statistics.mean(each.alone for each in same),
            True: statistics.mean(each.with_examples for each in same),
        }
        best = max(means, key=means.__getitem__)
        return Choice(Model.SMALL if means[best] >= _GOOD else Model.LARGE, best, asked.features)

    return choose


def _row(name: str, answers: Sequence[_Routed]) -> dict[str, Any]:
    small = [each for each in answers if each.choice.model is Model.SMALL]
    return {
        "who_answers": name,
        "quality": statistics.mean(each.quality for each in answers),
        "offloaded": len(small) / len(answers),
        "with_examples": sum(each.choice.examples for each in small) / len(answers),
        "quality_of_small": statistics.mean(each.quality for each in small) if small else None,
    }
