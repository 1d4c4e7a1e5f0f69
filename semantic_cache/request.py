"""What is known of a request before it is answered, and the same as numbers to learn from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semantic_cache.logistic import Prior, Vector

_LONG_CHARS = 1000  # a question of as many has 1 for its length, ten times as many 2


@dataclass(frozen=True)
class Request:
    category: str
    num_chars: int
    """Of what is asked last."""


class RequestFeatures:
    """One for every request, its length, and its category; those that are not named share what is learned of all."""

    def __init__(self, categories: Sequence[str]) -> None:
        self._places = {name: place for place, name in enumerate(categories, start=2)}
        self.names = ("request", "its length", *(f"category {name}" for name in self._places))

    def prior(self, request: Prior) -> list[Prior]:
        """One for each name; `request` is what is believed of any request."""
        return [request, Prior(0.0, 0.5), *[Prior(0.0, 3.0)] * len(self._places)]

    def of(self, request: Request) -> Vector:
        """[name], in float64."""
        features = np.zeros(len(self.names))
        features[0], features[1] = 1.0, math.log10(1 + request.num_chars) / math.log10(1 + _LONG_CHARS) - 1
        if request.category in self._places:
            features[self._places[request.category]] = 1.0
        return features
