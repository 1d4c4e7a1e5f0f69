"""Word alignment: which words of one question have a partner in the other, equal or meaning the same there.

The vectors of words come from the pass that gives the text's own vector (see `TextVectors`): what a word means in its
sentence. A question is not the same as another when one of its words has no partner, however alike the whole is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semantic_cache.guards import Reading
from semantic_cache.guards.function_words import CONJUNCTIONS, POLITE, PREPOSITIONS
from semantic_cache.guards.names import misspelled
from semantic_cache.guards.reading import Word, only_in, spoken
from semantic_cache.guards.word_lists import word_set

LIGHT = word_set(
    "get make do go use find way thing people someone good best take give put have be want need try look see show let"
    " work come keep think say ask possible happen possibly able actually kind sort type"
)
"""Words of so little meaning that they count for less."""
LIGHT_WEIGHT = 0.4
MOST_TYPOS = 20
"""Where more words than that differ, none is taken for another one misspelled."""
ASKING = word_set("who whom whose what which when where why how")


class Look(Protocol):
    """What an embedder sees of a text: see `TextVectors` of the ONNX embedder."""

    @property
    def vector(self) -> NDArray[np.float32]: ...

    @property
    def spans(self) -> Sequence[tuple[int, int]]: ...

    @property
    def word_vectors(self) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Alignment:
    """Numbers from 0 to 1 unless said otherwise. Swapping the texts changes nothing."""

    cosine: float
    """Of the texts."""
    worst: float
    """Of the word whose best partner is worst: their cosine; 1 when all have one in the same words."""
    unmatched_more: float
    """Share of the content without a partner, weighted, each as much as its best partner is unlike it; the larger."""
    unmatched_less: float
    own_more: float
    """How many words of content one text has and the other has not, up to 8: the larger number."""
    own_less: float
    shared: float
    """Of all words of content, those that both have."""
    swapped: float
    """1 where one or two words stand in place of one or two others, and all else is the same."""
    added: float
    """1 where one text is the other and more."""
    length_ratio: float
    crossed: float
    """Of pairs of shared words, those in another order."""
    asking: float
    """1 where the words that ask are the same, 0.5 where one has none."""
    linking: float
    """Of all prepositions and conjunctions, those that both have."""
    content: float
    """Words of content in the shorter text, up to 12."""

    def numbers(self) -> NDArray[np.float64]:
        return np.array(astuple(self), np.float64)


def align(asked: Reading, stored: Reading, asked_look: Look, stored_look: Look) -> Alignment:
    """Of two texts that can be read, and looks at `Reading.text` of each."""
    my_places, their_places = spoken(asked), spoken(stored)
    my_own, their_own = _own(asked, stored)
    # [word asked, word stored]
    alike = _vectors(asked, my_places, asked_look) @ _vectors(stored, their_places, stored_look).T
    my_best = _best(alike, my_places, my_own)
    their_best = _best(alike.T, their_places, their_own)
    mine, theirs = [asked.words[place] for place in my_places], [stored.words[place] for place in their_places]
    owned = sorted((len(my_own), len(their_own)))
    unmatched = sorted((_unmatched(mine, my_best), _unmatched(theirs, their_best)))
    counts = sorted((len(mine), len(theirs)))
    return Alignment(
        cosine=float(np.clip(asked_look.vector @ stored_look.vector, 0, 1)),
        worst=float(min([1.0, *my_best, *their_best])),
        unmatched_more=unmatched[1],
        unmatched_less=unmatched[0],
        own_more=min(owned[1], 8) / 8,
        own_less=min(owned[0], 8) / 8,
        shared=_shared([w.lemma for w in mine], [w.lemma for w in theirs]),
        swapped=float(owned[0] > 0 and owned[1] <= 2 and owned[1] < counts[0]),
        added=float(owned[0] == 0 and owned[1] > 0),
        length_ratio=(1 + counts[0]) / (1 + counts[1]),
        crossed=_crossed(mine, theirs),
        asking=_asking(asked, stored),
        linking=_shared(_linking(asked), _linking(stored)),
        content=min(counts[0], 12) / 12,
    )


def _own(asked: Reading, stored: Reading) -> tuple[list[int], list[int]]:
    """Places of what each has without the other, but for politeness and spelling."""
    mine = {place: asked.words[place].lower for place in only_in(asked, stored)}
    theirs = {place: stored.words[place].lower for place in only_in(stored, asked)}
    my_own = [place for place, lower in mine.items() if lower not in POLITE]
    their_own = [place for place, lower in theirs.items() if lower not in POLITE]
    if len(my_own) > MOST_TYPOS or len(their_own) > MOST_TYPOS:
        return my_own, their_own
    typos = [(one, other) for one in my_own for other in their_own if misspelled(mine[one], theirs[other])]
    my_typos, their_typos = {one for one, _ in typos}, {other for _, other in typos}
    return [place for place in my_own if place not in my_typos], [
        place for place in their_own if place not in their_typos
    ]


def _vectors(reading: Reading, places: Sequence[int], look: Look) -> NDArray[np.float32]:
    """[word, dimension]; a word behind the place where the text was cut has the last one's."""
    starts = [start for start, _ in look.spans]
    if not starts:
        return np.zeros((len(places), look.vector.shape[0]), np.float32)
    seen = [max(bisect_right(starts, reading.starts[place]) - 1, 0) for place in places]
    return look.word_vectors[seen]


def _best(alike: NDArray[np.float32], places: Sequence[int], own: Sequence[int]) -> list[float]:
    """Of each word: 1 where it is shared, else the cosine of its best partner."""
    unshared = frozenset(own)
    best = np.clip(alike.max(axis=1, initial=0.0), 0, 1)
    return [float(best[i]) if place in unshared else 1.0 for i, place in enumerate(places)]


def _unmatched(words: Sequence[Word], best: Sequence[float]) -> float:
    weights = [LIGHT_WEIGHT if word.lemma in LIGHT else 1.0 for word in words]
    missing = sum(weight * (1 - partner) for weight, partner in zip(weights, best, strict=True))
    return missing / sum(weights) if weights else 0.0


def _shared(mine: Sequence[str], theirs: Sequence[str]) -> float:
    one, other = set(mine), set(theirs)
    return len(one & other) / len(one | other) if one | other else 1.0


def _crossed(mine: Sequence[Word], theirs: Sequence[Word]) -> float:
    """By where each word stands first."""
    here, there = _first(mine), _first(theirs)
    places = [there[lemma] for lemma in here if lemma in there]
    pairs = len(places) * (len(places) - 1) / 2
    return sum(a > b for i, a in enumerate(places) for b in places[i + 1 :]) / pairs if pairs else 0.0


def _first(words: Sequence[Word]) -> dict[str, int]:
    """In the order of the text."""
    places: dict[str, int] = {}
    for place, word in enumerate(words):
        places.setdefault(word.lemma, place)
    return places


def _asking(asked: Reading, stored: Reading) -> float:
    mine, theirs = asked.lowers & ASKING, stored.lowers & ASKING
    if mine == theirs:
        return 1.0
    return 0.0 if mine and theirs else 0.5


def _linking(reading: Reading) -> list[str]:
    return [word.lower for word in reading.words if word.lower in PREPOSITIONS or word.lower in CONJUNCTIONS - ASKING]
