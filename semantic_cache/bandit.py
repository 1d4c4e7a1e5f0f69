"""BanditRouter: the small model answers where it was good enough so far, and more of it the busier the large one is.

In-context reuse as in IC-Cache (Yu et al., arXiv 2501.12689). The abstract names a bandit that goes by quality and
load; the beliefs, the prices and the lot are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import numpy as np

from kvstore.errors import CorruptFrame, InvalidRequest
from semantic_cache.logistic import LogisticBelief, Prior, Vector
from semantic_cache.request import RequestFeatures
from semantic_cache.router import Choice, Features, Model, Prices, Router, checked_load

_MEMORY = 0.998
_ARMS = ((Model.SMALL, False), (Model.SMALL, True), (Model.LARGE, False))


class BanditRouter(Router):
    """Thompson sampling over the arms, each with a logistic belief of its quality by the request's features.

    The best by drawn quality less price is chosen: so the small model answers where it is believed to be worse by no
    more than what the large one costs at this load, and more load sends it more. Every arm that a request leaves
    open is chosen for at least `least_share` of such requests, whatever is believed and at any load.
    """

    def __init__(
        self, categories: Sequence[str], random: Random, prices: Prices | None = None, least_share: float = 0.005
    ) -> None:
        """Raises InvalidRequest where all the arms' least shares do not fit into the requests."""
        if not 0 <= least_share * len(_ARMS) <= 1:
            raise InvalidRequest(
                f"least_share is {least_share}: {len(_ARMS)} arms with a share of it are more than all"
            )
        self._random, self._prices, self._least_share = random, prices or Prices(), least_share
        self._of_request = RequestFeatures(categories)
        self._beliefs = {(model, examples): self._first_belief(model) for model, examples in _ARMS}

    def choose(self, features: Features, load: float) -> Choice:
        load = checked_load(load)
        arms = [arm for arm in _ARMS if features.num_examples > 0 or not arm[1]]
        lot, drawn_arm = self._random.random(), self._random.choice(arms)
        worth = {arm: self._drawn_worth(arm, features, load) for arm in arms}
        explored = lot < self._least_share * len(arms)
        model, examples = drawn_arm if explored else max(arms, key=worth.__getitem__)
        return Choice(model, examples, features, explored)

    def learn(self, choice: Choice, quality: float) -> None:
        self._beliefs[choice.model, choice.examples].learn(self._vector(choice.features), quality)

    def expected(self, features: Features) -> dict[tuple[Model, bool], float]:
        """The quality believed likeliest of each arm, from 0 to 1, for people to read."""
        return {arm: belief.chance(self._vector(features)) for arm, belief in self._beliefs.items()}

    def to_json(self) -> dict[str, Any]:
        """What `restore` takes, of what JSON has. Draws begin anew."""
        return {_named(arm): belief.to_json() for arm, belief in self._beliefs.items()}

    def restore(self, said: Mapping[str, Any]) -> None:
        """Back to when `to_json` said so. Raises CorruptFrame on all else, and where the categories are others."""
        beliefs = {arm: self._first_belief(arm[0]) for arm in _ARMS}
        for arm, belief in beliefs.items():
            belief.restore(_part(said, _named(arm)))
        self._beliefs = beliefs

    def _first_belief(self, model: Model) -> LogisticBelief:
        """Of the large model something good, of the small one nothing."""
        quality = Prior(2.0, 1.0) if model is Model.LARGE else Prior(0.0, 1.0)
        names = [*self._of_request.names, "nearest cosine", "expected gain"]
        return LogisticBelief(names, [*self._of_request.prior(quality), Prior(0.0, 1.0), Prior(0.0, 1.0)], _MEMORY)

    def _drawn_worth(self, arm: tuple[Model, bool], features: Features, load: float) -> float:
        model, examples = arm
        quality = self._beliefs[arm].drawn_chance(self._vector(features), self._random)
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
