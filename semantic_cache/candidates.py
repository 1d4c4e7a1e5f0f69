"""Candidates: which of the nearest documents may answer a query, as far as the policy and the judge have a say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter

from semantic_cache.category import Category, Guards
from semantic_cache.decision import Considered
from semantic_cache.documents import Document
from semantic_cache.effective import effective
from semantic_cache.index import Neighbor
from semantic_cache.judge import Judge, Judgement
from semantic_cache.policy import Policy
from semantic_cache.query import Query
from semantic_cache.shelf import Shelf

_GRADED = frozenset({"negation", "opposite", "tense", "scope", "question", "modality", "whose", "order", "name"})
"""Conflicts that a graded category weighs. No number, date, unit, code or language does it let pass."""
_CONFLICT = 0.03
"""What each of them takes off the cosine."""


@dataclass(frozen=True)
class Candidate:
    """A document that was read and judged."""

    document_id: int
    document: Document
    category: Category
    """The stricter one of the query's and the document's."""
    cosine: float
    judgement: Judgement
    ruled_out: str | None
    """The conflict for which it answers nothing, whatever its scores are."""

    @property
    def scores(self) -> list[tuple[str, float]]:
        """By what its worth is learned of: the judge's score, in a graded category less sure ones by the cosine too."""
        name, conflicts = self.category.name, self.judgement.conflicts
        scores = [] if conflicts else [(name, self.judgement.score)]
        if self.category.guards is Guards.GRADED:
            graded = self.cosine - _CONFLICT * len(conflicts)
            scores.append((graded_of(name), min(max(graded, 0.0), 1.0)))
        return scores

    def considered(self, now_s: float) -> Considered:
        """For people."""
        said, judged = self.document, self.judgement
        return Considered(said.query.text, self.cosine, judged.score, judged.conflicts, now_s - said.saved_at_s)


def graded_of(category: str) -> str:
    """Under which name it is learned what a graded category's cosines are worth."""
    return f"{category}, graded"


class Candidates:
    """Of one shelf, by one judge."""

    def __init__(self, shelf: Shelf, judge: Judge) -> None:
        self._shelf, self._judge = shelf, judge

    def of(
        self, query: Query, category: Category, neighbors: list[Neighbor], policy: Policy, load: float, now_s: float
    ) -> Iterator[Candidate]:
        """Those near enough and fresh, by the query's category and their own; read and judged one by one."""
        asked = category
        for neighbor in neighbors:
            document = self._shelf.get(neighbor.id)
            if document is None or document.query.partition != query.partition:
                continue
            category = max(asked, policy.stored(document.category), key=attrgetter("strictness"))
            in_effect = effective(category, load)
            if neighbor.cosine < in_effect.floor:
                continue
            if not in_effect.is_fresh(document.saved_at_s, document.expires_at_s, now_s):
                continue
            judgement, ruled_out = self.judged(category, query.text, document.query.text, neighbor.cosine)
            yield Candidate(neighbor.id, document, category, neighbor.cosine, judgement, ruled_out)

    def judged(self, category: Category, asked: str, stored: str, cosine: float) -> tuple[Judgement, str | None]:
        """And the conflict, if any, for which it answers nothing whatever its scores are."""
        judgement = self._judge.judge(asked, stored, cosine)
        weighed = _GRADED if category.guards is Guards.GRADED else frozenset()
        ruling = (conflict for conflict in judgement.conflicts if conflict.partition(":")[0] not in weighed)
        return judgement, next(ruling, None)
