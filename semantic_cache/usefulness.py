"""Usefulness: by how much examples make a small model's answer likelier to be good, learned from its answers.

The second stage of IC-Cache's selection (Yu et al., arXiv 2501.12689, the abstract): what is similar need not help.
The paper has a proxy model predict it; this model is ours, eleven numbers and one for each category.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from semantic_cache.example import Example
from semantic_cache.logistic import LogisticBelief, Prior, Vector
from semantic_cache.request import Request, RequestFeatures

_MEMORY = 0.999
_DOUBT = 2.0  # outcomes without lift that every example is taken to have had
_DAY_S = 86400.0
_OF_EXAMPLES = {
    "an example": Prior(0.0, 0.5),
    "its cosine": Prior(1.0, 1.0),
    "its lift": Prior(2.0, 1.0),
    "its length": Prior(0.0, 0.5),
    "its age": Prior(0.0, 0.5),
    "its category is the request's": Prior(0.0, 0.5),
}


class Usefulness:
    """Expects how good the small model's answer is with some examples shown, and learns how good it was.

    The log-odds of a good answer are what the request brings and what each example adds, the i-th nearest one a
    share of 1/i. As answers with and without examples are learned from alike, what the examples are said to add is
    not what the request brings. Before anything is known the cosine counts. Not safe to use from several threads.
    """

    def __init__(self, categories: Sequence[str]) -> None:
        self._of_request = RequestFeatures(categories)
        names = [*self._of_request.names, *_OF_EXAMPLES]
        priors = [*self._of_request.prior(Prior(0.0, 1.5)), *_OF_EXAMPLES.values()]
        self._belief = LogisticBelief(names, priors, _MEMORY)

    def expected(self, request: Request, examples: Sequence[Example]) -> float:
        """Quality of the small model's answer with these shown, from 0 to 1."""
        return self._belief.chance(self._features(request, examples))

    def learn(self, request: Request, examples: Sequence[Example], quality: float) -> None:
        """The small model answered so well with these shown, from 0 to 1. Raises InvalidRequest on other numbers."""
        self._belief.learn(self._features(request, examples), quality)

    def to_json(self) -> dict[str, Any]:
        return self._belief.to_json()

    def restore(self, said: Mapping[str, Any]) -> None:
        """Back to when `to_json` said so. Raises CorruptFrame on all else, and where the categories are others."""
        self._belief.restore(said)

    def _features(self, request: Request, examples: Sequence[Example]) -> Vector:
        nearest_first = sorted(examples, key=lambda example: -example.cosine)
        added = np.zeros(len(_OF_EXAMPLES))
        for rank, example in enumerate(nearest_first, start=1):
            added += _features_of(example, request) / rank
        return np.concatenate([self._of_request.of(request), added])


def _features_of(example: Example, request: Request) -> Vector:
    """As named in `_OF_EXAMPLES`, each about from -1 to 1."""
    age_days = max(example.age_s, 0.0) / _DAY_S
    return np.array(
        [
            1.0,
            2 * example.cosine - 1,
            example.past.lift / (example.past.tried + _DOUBT),
            math.log10(1 + example.num_chars) / 2 - 1,
            math.log10(1 + age_days) - 1,
            float(example.category == request.category),
        ]
    )
