"""CautiousRouter: the small model answers where it has shown that it is good enough, and more the busier the large is.

In-context reuse as in IC-Cache (Yu et al., arXiv 2501.12689), whose abstract names a contextual bandit that goes by
quality and load. Ours tries nothing on callers: what an arm is worth is learned from answers that are computed behind
their backs (`connectors/proxy/lessons.py`) and from feedback, and it goes by what is nearly certain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kvstore.errors import CorruptFrame
from semantic_cache.logistic import LogisticBelief, Prior, Vector
from semantic_cache.request import RequestFeatures
from semantic_cache.router import Choice, Features, Model, Prices, Router, checked_load

_MEMORY = 0.998
_DEVIATIONS = 1.282  # 90 %, to one side
_ARMS = ((Model.SMALL, False), (Model.SMALL, True), (Model.LARGE, False))


class CautiousRouter(Router):
    """Arms, each with a logistic belief of its quality by the request's features; nothing is drawn.

    The best by quality less price is chosen, of the small model's by the quality that it has with 90 %: so it answers
    where it is nearly sure to be worse by no more than what the large one costs at this load.
    """

    def __init__(self, categories: Sequence[str], prices: Prices | None = None) -> None:
        self._prices, self._of_request = prices or Prices(), RequestFeatures(categories)
        self._beliefs = {(model, examples): self._first_belief(model) for model, examples in _ARMS}

    def choose(self, features: Features, load: float) -> Choice:
        load = checked_load(load)
        arms = [arm for arm in _ARMS if features.num_examples > 0 or not arm[1]]
        model, examples = max(arms, key=lambda arm: self._worth(arm, features, load))
        return Choice(model, examples, features)

    def learn(self, choice: Choice, quality: float) -> None:
        self._beliefs[choice.model, choice.examples].learn(self._vector(choice.features), quality)

    def expected(self, features: Features) -> dict[tuple[Model, bool], float]:
        """The quality believed likeliest of each arm, from 0 to 1, for people to read."""
        return {arm: belief.chance(self._vector(features)) for arm, belief in self._beliefs.items()}

    def to_json(self) -> dict[str, Any]:
        """What `restore` takes, of what JSON has."""
        return {_named(arm): belief.to_json() for arm, belief in self._beliefs.items()}

    def restore(self, said: Mapping[str, Any]) -> None:
        """Back to when `to_json` said so. Raises CorruptFrame on all else, and where the categories are others."""
        beliefs = {arm: self._first_belief(arm[0]) for arm in _ARMS}
        for arm, belief in beliefs.items():
            belief.restore(_part(said, _named(arm)))
        self._beliefs = beliefs

    def _first_belief(self, model: Model) -> LogisticBelief:
        """Of the large model something good, of the small one nothing: compared with the large one's, its answers are
        as good as they are the same."""
        quality = Prior(4.0, 1.0) if model is Model.LARGE else Prior(0.0, 1.0)
        names = [*self._of_request.names, "nearest cosine", "expected gain"]
        return LogisticBelief(names, [*self._of_request.prior(quality), Prior(0.0, 1.0), Prior(0.0, 1.0)], _MEMORY)

    def _worth(self, arm: tuple[Model, bool], features: Features, load: float) -> float:
        (model, examples), belief, vector = arm, self._beliefs[arm], self._vector(features)
        quality = belief.chance(vector) if model is Model.LARGE else belief.least_chance(vector, _DEVIATIONS)
        return quality - self._prices.of(model, examples, load)

    def _vector(self, features: Features) -> Vector:
        return np.concatenate([self._of_request.of(features.request), [features.cosine, features.gain]])


def _named(arm: tuple[Model, bool]) -> str:
    model, examples = arm
    return f"{model} with examples" if examples else str(model)


def _part(said: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    if not isinstance(said, Mapping) or not isinstance(said.get(name), Mapping):
        raise CorruptFrame(f"nothing that was learned of {name!r} is here")
    part: Mapping[str, Any] = said[name]
    return part
