"""ErrorBudget: how many answers may be wrong, and where that buys most; of one category, or of several together.

Serving the neighbours that are least likely wrong first, whichever category they are of, and for as long as the budget
of all lasts, serves the most for it. How likely is learned by category and score; that the whole is within the budget
is then proved by all labels together. Of the order in which more and more is served, the first that is not proved ends
it, so it costs nothing that many are tried (fixed-sequence testing from several starts: Angelopoulos, Bates, Candès,
Jordan and Lei, "Learn then test", arXiv 2110.01052, section 3.2). Within one category the order is that of the scores,
and the proof is exact; between several it is learned from the same labels that then prove it.
"""

from __future__ import annotations

import random as randomness
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kvstore.errors import InvalidRequest
from semantic_cache.bounds import proves_less
from semantic_cache.evidence import Evidence
from semantic_cache.learned import Learned, as_json, from_json
from semantic_cache.score_bins import Block

_BLOCK_LABELS = 20
_STARTS = (0.5, 0.125, 0.03)  # of all neighbours, in that order: where the search begins
_WINDOW_LABELS = 5000  # of a category; then old ones count half
_FIRST_ANSWERS = 500  # the budget is never counted as less than what these may have wrong
_CAUTION = 3.0  # finds to be expected before the budget is gone: none comes with a chance of e^-3


@dataclass(frozen=True)
class _Step:
    """One block more."""

    wrongness: float
    evidence: Evidence
    block: Block
    scale: float
    """See `ErrorBudget.scale`."""


@dataclass(frozen=True)
class _Stretch:
    """All neighbours up to some step."""

    seen: float
    labels: float
    wrong: float
    allowed: float
    """Share that may be wrong, of these: the exact answers beside them are right."""


class ErrorBudget:
    """Not safe to use from several threads, nor are the certifiers that share it."""

    def __init__(
        self,
        max_wrong: float = 0.01,
        confidence: float = 0.95,
        explore: float = 0.02,
        random: Callable[[], float] = randomness.random,
    ) -> None:
        """`explore` is the least share of what is served that is checked, and of what is not that is explored.

        `random` draws from [0, 1), and nobody else foresees what. Raises InvalidRequest for shares that are none.
        """
        if not (0 < max_wrong < 1 and 0 < confidence < 1 and 0 < explore <= 1):
            raise InvalidRequest(f"{max_wrong=}, {confidence=} and {explore=} must lie between 0 and 1")
        self.max_wrong = max_wrong
        self.doubt = (1 - confidence) / len(_STARTS)
        self.explore = explore
        self.random = random
        self._members: dict[str, Evidence] = {}
        self._requests = 0.0

    def evidence(self, category: str) -> Evidence:
        """Of one category, which from now on shares the budget."""
        return self._members.setdefault(category, Evidence(self._requests))

    def count(self) -> None:
        """One request more, of whatever category."""
        self._requests += 1

    def forget(self, evidence: Evidence) -> None:
        """What was learned of this category is no longer so."""
        evidence.forget(self._requests)

    @property
    def left(self) -> float:
        """Answers that may yet be wrong."""
        answers = sum(member.answers for member in self._members.values())
        return self.max_wrong * max(answers, _FIRST_ANSWERS) - sum(member.harm for member in self._members.values())

    def chance(self) -> float:
        """Of checking what is served: the greater, the less of the budget is left. 1 where there is too little."""
        left = self.left
        return max(self.explore, min(_CAUTION / left, 1.0)) if left > 0 else 1.0

    def spend(self) -> None:
        """Find out anew how far each category is served."""
        if any(sum(member.bins.labels) > _WINDOW_LABELS for member in self._members.values()):
            self._fade()
        steps = sorted(self._steps(), key=lambda step: step.wrongness)
        for member in self._members.values():
            member.end = 0
        for step in steps[: self._affordable(list(self._stretches(steps)))]:
            step.evidence.end = max(step.evidence.end, step.block.end)

    def to_json(self) -> str:
        """What was learned, without the settings that it was learned under."""
        return as_json(Learned(self._requests, self._members))

    def learn(self, text: str) -> None:
        """Add, once, what `to_json` of this or another process said. Raises InvalidRequest, with nothing learned."""
        learned = from_json(text)
        for category in learned.categories:
            self.evidence(category)
        for category, mine in self._members.items():
            other = learned.categories.get(category, Evidence(learned.requests))
            mine.add(other)
            mine.since += other.since
        self._requests += learned.requests
        self.spend()

    def _fade(self) -> None:
        self._requests /= 2
        for member in self._members.values():
            member.bins.fade(0.5)
            member.exact /= 2
            member.since /= 2

    def scale(self, evidence: Evidence) -> float:
        """What its bins have seen, times this, is as of all the time that exact answers were counted in."""
        return self._requests / max(self._requests - evidence.since, 1.0)

    def _steps(self) -> Iterator[_Step]:
        for member in self._members.values():
            scale, wrongness = self.scale(member), 0.0
            for block, share in _smoothed(member.bins.blocks(_BLOCK_LABELS)):
                wrongness = max(wrongness, share)
                yield _Step(wrongness, member, block, scale)

    def _stretches(self, steps: list[_Step]) -> Iterator[_Stretch]:
        """Of each step, it and all before it.

        Labels are a sample of what would be served only if all of that was labelled equally often. It was not; so
        each counts with the weight that makes it so, which is at most 1.
        """
        exact = sum(member.exact for member in self._members.values())
        seen = wrong = 0.0
        rate = 1.0  # labels for each that was seen, where there were fewest
        for step in steps:
            block = step.block
            rate = min(rate, block.labels / (block.seen * step.scale))
            seen += block.seen * step.scale
            wrong += block.wrong * block.seen / block.labels * step.scale
            yield _Stretch(seen, rate * seen, rate * wrong, self.max_wrong * (seen + exact) / seen)

    def _affordable(self, stretches: list[_Stretch]) -> int:
        """How many steps to take: the most that proof after proof leads to, from one of the starts on."""
        longest = 0
        for start in _STARTS:
            first = next((n for n, one in enumerate(stretches) if one.seen >= start * stretches[-1].seen), 0)
            end = first
            while end < len(stretches) and self._is_proved(stretches[end]):
                end += 1
            if end > first:
                longest = max(longest, end)
        return longest

    def _is_proved(self, stretch: _Stretch) -> bool:
        allowed = stretch.allowed
        return allowed >= 1 or proves_less(stretch.wrong, stretch.labels, allowed, self.doubt)


def _smoothed(blocks: list[Block]) -> Iterator[tuple[Block, float]]:
    """Each with the share of wrong labels as it would be if it never fell from one to the next.

    The pool-adjacent-violators algorithm (Ayer et al., Ann. Math. Stat. 1955), half a wrong label added to each.
    """
    pools: list[list[Block]] = []
    for block in blocks:
        pools.append([block])
        while len(pools) > 1 and _wrongness(pools[-2]) >= _wrongness(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    for pool in pools:
        for block in pool:
            yield block, _wrongness(pool)


def _wrongness(pool: list[Block]) -> float:
    return (sum(block.wrong for block in pool) + 0.5 * len(pool)) / (sum(block.labels for block in pool) + len(pool))
