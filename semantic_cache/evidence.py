"""Evidence: what is known of one category's neighbours, and how far down the scores they are served."""

from __future__ import annotations

from dataclasses import dataclass, field

from semantic_cache.score_bins import ScoreBins
from semantic_cache.watch import Watch


@dataclass
class Evidence:
    since: float
    """Requests of the budget's categories before the first that the bins tell of; fades as they do."""
    bins: ScoreBins = field(default_factory=ScoreBins)
    exact: float = 0.0
    """Answers to the same words, since the first request of the budget's; fades too."""
    answers: int = 0
    """All that were served, ever."""
    harm: float = 0.0
    """Wrong ones among these, as estimated from those found in exploring."""
    observed: int = 0
    """Labels, ever."""
    betrayed: int = 0
    """Labels, ever, that showed what was served on trust, or would have been, to be wrong."""
    watch: Watch = field(default_factory=Watch)
    end: int = 0
    """Bins `[0, end)` are served."""

    def forget(self, now: float) -> None:
        """What was learned is no longer so; what was served remains."""
        self.since, self.bins, self.watch, self.end = now, ScoreBins(), Watch(), 0

    def add(self, other: Evidence) -> None:
        """What another process learned of the same category; `since` is the budget's."""
        self.bins.add(other.bins)
        self.exact += other.exact
        self.answers += other.answers
        self.harm += other.harm
        self.observed += other.observed
        self.betrayed += other.betrayed
        self.watch.suspicion = max(self.watch.suspicion, other.watch.suspicion)
