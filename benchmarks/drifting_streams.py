"""Streams of requests whose scores and errors drift: what every certifier is to keep its promise on."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

KINDS = ("steady", "errors at once", "errors slowly", "scores at once", "scores slowly", "everything at once")


@dataclass(frozen=True)
class Request:
    score: float | None
    """Of its nearest neighbour; None where the same was asked before in the same words."""
    wrong_chance: float


def stream(seed: int, num_requests: int) -> Iterator[Request]:
    """Its kind is `KINDS[seed % len(KINDS)]`; all else is drawn: how scores are distributed and how they tell right
    from wrong, how much is asked in the same words, when drift begins and how far it goes.

    Where everything goes wrong at once, neighbours of every score are wrong with a chance of 5 to 50 %.
    """
    kind, draw = KINDS[seed % len(KINDS)], random.Random(seed)
    steepness, middle, mean = draw.uniform(20, 60), draw.uniform(0.55, 0.8), draw.uniform(0.6, 0.9)
    exact = draw.choice((0.0, 0.1, 0.3, 0.5))
    begins = draw.uniform(0.3, 0.8) * num_requests
    harder, moved, spike = (
        draw.uniform(0.05, 0.25),
        draw.choice((-1, 1)) * draw.uniform(0.05, 0.25),
        draw.uniform(0.05, 0.5),
    )
    for index in range(num_requests):
        if draw.random() < exact:
            yield Request(None, 0.0)
            continue
        slowly = min(max((index - begins) / (0.3 * num_requests), 0.0), 1.0)
        drift = slowly if kind.endswith("slowly") else float(index > begins)
        centre = min(max(mean + moved * drift * kind.startswith("scores"), 0.3), 0.97)
        score = draw.betavariate(8 * centre, 8 * (1 - centre))
        wrong = 1 / (1 + math.exp(steepness * (score - middle - harder * drift * kind.startswith("errors"))))
        yield Request(score, max(wrong, spike * drift) if kind.startswith("everything") else wrong)
