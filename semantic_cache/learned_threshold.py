"""LearnedThreshold: serves from the lowest score on that its labels prove safe, and goes on looking.

Two things are promised. While what is asked, and how its answers turn out, come as if drawn from one distribution:
with the stated confidence nothing is ever in force by which more than `max_wrong` of all answers would be wrong
(see `bounds.py` and `error_budget.py`). And when that changes, little goes wrong unseen: of what is served a share is
checked, by a coin of our own, from which nobody can hide. It is so large that more than what is left of the budget
would rarely go wrong before a find, and a find stops serving until as much was right as makes up for it.

Of what was served only complaints count: no number of people who say that an answer was right lowers a threshold.
"""

from __future__ import annotations

from math import inf, nan

from semantic_cache.bounds import share_at_most
from semantic_cache.certifier import Certified, Certifier, Choice, Ruling
from semantic_cache.error_budget import ErrorBudget
from semantic_cache.score_bins import bin_of, lowest_score

_LABELS = 8  # after which the threshold is looked for again; wrong ones among what is served count at once
_CHECKED_ON_TRUST = 0.5  # so that two wrong answers are to be expected until one is found
_LEFT_FOR_TRUST = 4.0  # wrong answers that the budget must bear: several categories may be trusted at once
_EXPLORED_WHEN_SPENT = 0.8  # a spent budget is only earned back by serving
_PROMISING = 0.25  # share of wrong labels up to which a bin may come to be served


class LearnedThreshold(Certifier):
    """Its budget keeps what it has learned."""

    def __init__(self, budget: ErrorBudget, category: str = "") -> None:
        """Of its own, or one that it shares with other categories."""
        self._budget = budget
        self._evidence = budget.evidence(category)

    def choose(self, score: float, vouched: bool = False) -> Ruling:
        """What is vouched for is served before anything is known of it, until it was wrong once.

        Every other one is checked, so two wrong ones are to be expected until one is found; they come off the budget.
        """
        index, budget = bin_of(score), self._budget
        budget.count()
        self._evidence.bins.seen[index] += 1
        on_trust = index >= self._evidence.end
        if on_trust and not (vouched and self._is_trusting):
            chance = 1.0 if self._is_promising(index) else budget.explore
            return Ruling(Choice.EXPLORE if budget.random() < chance else Choice.MISS)
        chance = min(budget.chance(), _CHECKED_ON_TRUST) if on_trust else budget.chance()
        spent = chance >= 1 and budget.random() < _EXPLORED_WHEN_SPENT
        if not on_trust and (spent or self._evidence.watch.suspicious):
            return Ruling(Choice.EXPLORE)
        self._evidence.answers += 1
        return Ruling(Choice.CHECK if budget.random() < chance else Choice.SERVE, chance, on_trust)

    def observe(self, score: float, right: bool, ruling: Ruling) -> None:
        if right and ruling.choice is Choice.SERVE:
            return
        evidence, index = self._evidence, bin_of(score)
        evidence.observed += 1
        evidence.bins.label(index, right)
        evidence.betrayed += ruling.on_trust and not right
        if not right and ruling.choice is Choice.CHECK:
            evidence.harm += 1 / ruling.chance
        is_served = index < evidence.end
        if is_served and evidence.watch.observe(right, self._usual()):
            self._budget.forget(evidence)
        if (is_served and not right) or evidence.observed % _LABELS == 0:
            self._budget.spend()

    def calibrate(self, score: float, right: bool) -> None:
        """A label from before, or from elsewhere: of a neighbour like those to come, that `choose` never saw."""
        self._budget.count()
        self._evidence.bins.seen[bin_of(score)] += 1
        self.observe(score, right, Ruling(Choice.EXPLORE))

    def count_exact(self) -> None:
        self._budget.count()
        self._evidence.exact += 1
        self._evidence.answers += 1

    @property
    def certified(self) -> Certified:
        evidence = self._evidence
        if not evidence.end or evidence.watch.suspicious:
            return Certified(inf, nan, 1.0, nan, evidence.observed, self._is_trusting)
        bins, end = evidence.bins, evidence.end
        labels, wrong = sum(bins.labels[:end]), sum(bins.wrong[:end])
        seen = sum(bins.seen[:end]) * self._budget.scale(evidence)
        semantic = seen / (seen + evidence.exact)
        return Certified(
            threshold=lowest_score(end - 1),
            wrong=wrong / labels * semantic,
            wrong_at_most=share_at_most(wrong, labels, self._budget.doubt) * semantic,
            semantic_wrong=wrong / labels,
            observed=evidence.observed,
            trusting=self._is_trusting,
        )

    def _usual(self) -> float:
        """Share of wrong labels among what is served, at which nobody needs to worry."""
        bins, end = self._evidence.bins, self._evidence.end
        return max(self._budget.max_wrong, 2 * (sum(bins.wrong[:end]) + 0.5) / (sum(bins.labels[:end]) + 1))

    @property
    def _is_trusting(self) -> bool:
        """Nothing that was vouched for was ever wrong, and the budget can bear to learn otherwise."""
        return not self._evidence.betrayed and self._budget.left >= _LEFT_FOR_TRUST

    def _is_promising(self, index: int) -> bool:
        bins = self._evidence.bins
        return bins.wrong[index] <= _PROMISING * (bins.labels[index] + 4)
