"""Guard of who does what to whom: the same words in another order, or behind another preposition."""

from __future__ import annotations

import itertools
from bisect import bisect_left

from semantic_cache.guards.differing import said
from semantic_cache.guards.function_words import ARTICLES
from semantic_cache.guards.reading import Reading, Word
from semantic_cache.guards.word_lists import word_set

ROLES = word_set("from to into onto than over under before after against toward towards")
"""Prepositions whose object cannot change places with another word of the question."""
SKIPPED = ARTICLES | word_set("my your his her its our their this that these those some any")
EVEN = word_set(
    "and or vs versus between both either compare compared comparison same difference different better"
    " best which choose"
)
"""Words around which things may change places."""
Objects = dict[str, set[str]]
"""Of prepositions, what stands behind them."""
CHOOSING = EVEN - {"and", "or", "both", "either"}


def order(asked: Reading, stored: Reading) -> str | None:
    mine, theirs = _objects(asked), _objects(stored)
    return (
        _roles(asked, mine, stored, theirs)
        or _turned(mine, theirs)
        or _agents(asked, stored)
        or _agents(stored, asked)
        or _and_or(asked, stored)
        or _rearranged(asked, stored)
    )


def _roles(asked: Reading, mine: Objects, stored: Reading, theirs: Objects) -> str | None:
    """Both texts have both words; each has the other one behind the same preposition."""
    for role in sorted(mine.keys() & theirs.keys()):
        here, there = mine[role] - theirs[role], theirs[role] - mine[role]
        if here & stored.lemmas and there & asked.lemmas:
            return said("order", [f"{role} {w}" for w in sorted(here)], [f"{role} {w}" for w in sorted(there)])
    return None


def _turned(mine: Objects, theirs: Objects) -> str | None:
    """`From Paris` is not `to Paris`."""
    for one, other in (("from", "to"), ("to", "from")):
        found = mine.get(one, set()) & theirs.get(other, set())
        found -= theirs.get(one, set()) | mine.get(other, set())
        if found:
            return said("order", [f"{one} {w}" for w in sorted(found)], [f"{other} {w}" for w in sorted(found)])
    return None


def _and_or(asked: Reading, stored: Reading) -> str | None:
    mine, theirs = asked.lowers & {"and", "or"}, stored.lowers & {"and", "or"}
    if not len(mine) == len(theirs) == 1 or mine == theirs or CHOOSING & (asked.lowers | stored.lowers):
        return None
    return said("order", sorted(mine), sorted(theirs))


def _objects(reading: Reading) -> Objects:
    found: Objects = {}
    if reading.lowers.isdisjoint(ROLES):
        return found
    words = [word for word in reading.words if word.lower not in SKIPPED]
    for role, object_ in itertools.pairwise(words):
        if role.lower in ROLES and not object_.is_function and not object_.is_number:
            found.setdefault(role.lower, set()).add(object_.lemma)
    return found


def _agents(passive: Reading, active: Reading) -> str | None:
    """`loved by Bob` against `Anna loves Bob`: who is behind `by` stands before the verb where there is no `by`."""
    if "by" not in passive.lowers or "by" in active.lowers:
        return None
    words = [word for word in passive.words if word.lower not in SKIPPED]
    places = _first_places(active)
    for verb, by, agent in zip(words, words[1:], words[2:], strict=False):
        if (
            by.lower == "by"
            and verb.lemma in places
            and agent.lemma in places
            and places[agent.lemma] > places[verb.lemma]
        ):
            return f"order: {verb.text} by {agent.text}"
    return None


def _first_places(reading: Reading) -> dict[str, int]:
    places: dict[str, int] = {}
    for place, word in enumerate(reading.words):
        places.setdefault(word.lemma, place)
    return places


def _rearranged(asked: Reading, stored: Reading) -> str | None:
    """Exactly the same words, but for inflection and articles, and not in the same order."""
    if not asked.lemmas ^ stored.lemmas <= ARTICLES:
        return None
    mine, theirs = _lemmas(asked.words), _lemmas(stored.words)
    if mine == theirs or sorted(mine) != sorted(theirs) or EVEN & asked.lowers or len(mine) < 2:
        return None
    if _clauses(mine, asked) & _clauses(theirs, stored):
        return None
    return said("order", [" ".join(mine)], [" ".join(theirs)])


def _lemmas(words: tuple[Word, ...]) -> tuple[str, ...]:
    return tuple(word.lemma for word in words if word.lower not in ARTICLES)


def _clauses(lemmas: tuple[str, ...], reading: Reading) -> set[tuple[str, ...]]:
    """The text as it is, and with what it begins with put last: `when it rains, is it wet`."""
    found = set()
    for mark in (",", ".", "?"):
        before, _, behind = reading.text.partition(mark)
        count = len(_lemmas(reading.words[: bisect_left(reading.starts, len(before))]))
        if behind.strip():
            found.add(lemmas[count:] + lemmas[:count])
    return found | {lemmas}
