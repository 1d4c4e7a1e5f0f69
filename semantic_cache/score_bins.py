"""Score bins: of the neighbours that scored alike, how many were seen, labelled and wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sqrt

BINS = 64


def bin_of(score: float) -> int:
    """0 for the surest scores. Bins are narrow where scores are high: 0.0002 wide at 1, 0.01 at 0.9, 0.02 at 0.5."""
    return min(int(sqrt(1 - min(max(score, 0.0), 1.0)) * BINS), BINS - 1)


def lowest_score(index: int) -> float:
    """Of a bin: what scores more is in it, or in a surer one."""
    return 1 - ((index + 1) / BINS) ** 2


@dataclass(frozen=True)
class Block:
    """Consecutive bins, up to `end`, that have enough labels among them."""

    end: int
    seen: float
    labels: float
    wrong: float


def _zeros() -> list[float]:
    return [0.0] * BINS


@dataclass
class ScoreBins:
    """Of each bin. Counts are not whole once they were made to fade."""

    seen: list[float] = field(default_factory=_zeros)
    labels: list[float] = field(default_factory=_zeros)
    wrong: list[float] = field(default_factory=_zeros)

    def label(self, index: int, right: bool) -> None:
        self.labels[index] += 1
        self.wrong[index] += not right

    def add(self, other: ScoreBins) -> None:
        for counts, more in zip(self._counts(), other._counts(), strict=True):
            counts[:] = [count + one for count, one in zip(counts, more, strict=True)]

    def fade(self, share: float) -> None:
        """Keep this share of all that is known."""
        for counts in self._counts():
            counts[:] = [share * count for count in counts]

    def blocks(self, least_labels: float) -> list[Block]:
        """From the surest bins on, split by how many labels there are, whatever they say; what remains is in none."""
        result: list[Block] = []
        seen = labels = wrong = 0.0
        for index in range(BINS):
            seen += self.seen[index]
            labels += self.labels[index]
            wrong += self.wrong[index]
            if labels >= least_labels and self.labels[index]:
                result.append(Block(index + 1, max(seen, labels), labels, wrong))  # some labels come from elsewhere
                seen = labels = wrong = 0.0
        return result

    def _counts(self) -> tuple[list[float], list[float], list[float]]:
        return self.seen, self.labels, self.wrong
