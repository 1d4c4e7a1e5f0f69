"""LogisticBelief: what is believed of the chance that something turns out well, learned one outcome at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvstore.errors import CorruptFrame, InvalidRequest

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Prior:
    """What is believed of a feature's weight before anything is known: a normal distribution."""

    mean: float
    deviation: float


class LogisticBelief:
    """A Gaussian over the weights of a logistic regression, whose features have names.

    An outcome moves it by one Newton step of the Laplace approximation (Chapelle and Li, `An Empirical Evaluation of
    Thompson Sampling`, NIPS 2011, algorithm 3; here with the whole covariance, not its diagonal alone). Evidence
    fades towards the prior, so that what changed is learned anew. Not safe to use from several threads.
    """

    def __init__(self, names: Sequence[str], priors: Sequence[Prior], memory: float) -> None:
        """One prior for each name. Of what was known, each outcome leaves a share of `memory`, in (0, 1]."""
        self._names, self._memory = tuple(names), memory
        self._first_mean = np.array([prior.mean for prior in priors])
        self._first_precision = np.diag([prior.deviation**-2 for prior in priors])
        self._mean, self._precision = self._first_mean, self._first_precision

    def log_odds(self, features: Vector) -> float:
        """Of a good outcome, at the likeliest weights; `features` is [name]."""
        return float(self._mean @ features)

    def chance(self, features: Vector) -> float:
        """The same as a probability."""
        return _probability(self.log_odds(features))

    def least_chance(self, features: Vector, deviations: float) -> float:
        """The same at log-odds so many standard deviations below the likeliest."""
        variance = float(features @ np.linalg.solve(self._precision, features))
        return _probability(self.log_odds(features) - deviations * math.sqrt(variance))

    def learn(self, features: Vector, quality: float) -> None:
        """It turned out so well, from 0 to 1. Raises InvalidRequest on any other number."""
        if not 0 <= quality <= 1:
            raise InvalidRequest(f"a quality is from 0 to 1, not {quality}")
        chance = self.chance(features)
        fading = (1 - self._memory) * self._first_precision
        seen = chance * (1 - chance) * np.outer(features, features)
        pull = features * (quality - chance) + fading @ (self._first_mean - self._mean)
        self._precision = self._memory * self._precision + fading + seen
        self._mean = self._mean + np.linalg.solve(self._precision, pull)

    def to_json(self) -> dict[str, Any]:
        """What `restore` takes, of what JSON has."""
        return {"names": list(self._names), "mean": self._mean.tolist(), "precision": self._precision.tolist()}

    def restore(self, said: Mapping[str, Any]) -> None:
        """Back to when `to_json` said so. Raises CorruptFrame, and changes nothing, on all else: go on without it."""
        try:
            names, mean, precision = said["names"], _numbers(said["mean"]), _numbers(said["precision"])
            np.linalg.cholesky(precision)
        except (KeyError, TypeError, ValueError, OverflowError, np.linalg.LinAlgError) as error:
            raise CorruptFrame(f"this is not what was learned: {error!r}") from error
        if names != list(self._names) or mean.shape != self._mean.shape or precision.shape != self._precision.shape:
            raise CorruptFrame(f"this was learned of {names}, not of {list(self._names)}")
        if not np.array_equal(precision, precision.T):
            raise CorruptFrame("this is not what was learned: the precision is not symmetric")
        self._mean, self._precision = mean, precision


def _numbers(said: Any) -> Vector:
    """Raises ValueError where they are not finite numbers in the shape of an array."""
    numbers = np.array(said, np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError("not all of them are finite")
    return numbers


def _probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(min(-log_odds, 700.0)))
