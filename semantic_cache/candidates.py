"""Candidates: which of the nearest documents may answer a query, as far as the policy and the judge have a say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
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

_MOST_JUDGED = 3
_GRADED = frozenset({"negation", "opposite", "tense", "scope", "question", "modality", "whose", "order", "name"})
"""Conflicts that a graded category weighs. No number, date, unit, code or language does it let pass."""
_DECISIVE = frozenset({"negation", "opposite", "name"})
"""Of these, where nothing else was changed, none either."""
_CONFLICT = 0.03
"""What each of them takes off the cosine."""


@dataclass(frozen=True)
class Scored:
    """What two questions come to by a category's guards."""

    score: float
    """What is learned the worth of: the judge's; in a graded category the cosine, less what conflicts take off it."""
    conflicts: tuple[str, ...]
    ruled_out: str | None
    """The conflict for which one's answer is not the other's, whatever the score is."""
    vouched: bool
    """Whether the judge is so sure that the category trusts it."""


@dataclass(frozen=True)
class Candidate:
    """A document that was read and judged."""

    document_id: int
    document: Document
    category: Category
    """The stricter one of the query's and the document's."""
    cosine: float
    scored: Scored

    def considered(self, now_s: float) -> Considered:
        """For people."""
        said, scored = self.document, self.scored
        return Considered(
            said.query.text,
            self.category.name,
            self.cosine,
            scored.score,
            scored.vouched,
            scored.conflicts,
            now_s - said.saved_at_s,
        )


class Candidates:
    """Of one shelf, by one judge."""

    def __init__(self, shelf: Shelf, judge: Judge) -> None:
        self._shelf, self._judge = shelf, judge

    def of(
        self, query: Query, category: Category, neighbors: list[Neighbor], policy: Policy, load: float, now_s: float
    ) -> Iterator[Candidate]:
        """Those near enough and fresh, by the query's category and their own; read and judged one by one."""
        asked = category
        for neighbor, document in self._shelf.read(query, neighbors):
            category = max(asked, policy.stored(document.category), key=attrgetter("strictness"))
            in_effect = effective(category, load)
            if neighbor.cosine < in_effect.floor:
                continue
            if not in_effect.is_fresh(document.saved_at_s, document.expires_at_s, now_s):
                continue
            scored = self.scored(category, query.text, document.query.text, neighbor.cosine)
            yield Candidate(neighbor.id, document, category, neighbor.cosine, scored)

    def best(
        self, query: Query, category: Category, neighbors: list[Neighbor], policy: Policy, load: float, now_s: float
    ) -> Candidate | None:
        """Of a few, the nearest that nothing rules out; else the nearest."""
        ruled_out = None
        for candidate in islice(self.of(query, category, neighbors, policy, load, now_s), _MOST_JUDGED):
            if not candidate.scored.ruled_out:
                return candidate
            ruled_out = ruled_out or candidate
        return ruled_out

    def scored(self, category: Category, asked: str, stored: str, cosine: float) -> Scored:
        judged = self._judge.judge(asked, stored, cosine)
        score, conflicts, weighed = judged.score, judged.conflicts, frozenset[str]()
        if category.guards is Guards.GRADED:
            score = min(max(cosine - _CONFLICT * len(conflicts), 0.0), 1.0)
            weighed = _GRADED - _DECISIVE if judged.is_edit else _GRADED
        ruled_out = next((each for each in conflicts if each.partition(":")[0] not in weighed), None)
        return Scored(score, conflicts, ruled_out, self._vouched(category, judged))

    def _vouched(self, category: Category, judged: Judgement) -> bool:
        return self._judge.vouches and not judged.conflicts and judged.score >= category.trusted
