"""Guard of calendar words: months, weekdays, days from now, parts of the day, seasons."""

from __future__ import annotations

from semantic_cache.guards.differing import clashing, differing
from semantic_cache.guards.reading import Reading
from semantic_cache.guards.word_lists import listed, word_set

MONTHS = {
    "jan": "january",
    "feb": "february",
    "apr": "april",
    "jun": "june",
    "jul": "july",
    "aug": "august",
    "sep": "september",
    "sept": "september",
    "oct": "october",
    "nov": "november",
    "dec": "december",
    **{m: m for m in listed("january february april june july august september october november december")},
}
CAPITAL_MONTHS = {"March": "march", "May": "may"}
"""Other words, too, in small letters or at the beginning."""
DAYS = {
    "mon": "monday",
    "tue": "tuesday",
    "tues": "tuesday",
    "wed": "wednesday",
    "thu": "thursday",
    "thurs": "thursday",
    "fri": "friday",
    **{d: d for d in listed("monday tuesday wednesday thursday friday saturday sunday")},
}
OTHER = {
    word: word
    for word in listed(
        "tomorrow yesterday tonight weekend weekday morning afternoon evening night overnight spring summer"
        " autumn winter breakfast lunch dinner christmas easter halloween thanksgiving ramadan"
    )
}
NAMED = frozenset().union(MONTHS, CAPITAL_MONTHS.values(), DAYS, OTHER)
LOOSE = word_set("tonight morning afternoon evening night spring summer autumn winter")
"""Left out as often as not: a conflict only where the other text has another one."""
NOW = frozenset(("today", "now", "currently"))
"""What is meant where nothing is said."""


def calendar(asked: Reading, stored: Reading) -> str | None:
    mine, theirs = _dates(asked), _dates(stored)
    if not mine and not theirs:
        return None
    return differing("date", mine - LOOSE, theirs - LOOSE) or clashing(
        "date", mine | _now(asked), theirs | _now(stored)
    )


def _dates(reading: Reading) -> set[str]:
    found: set[str] = set()
    if reading.lowers.isdisjoint(NAMED) and reading.lemmas.isdisjoint(NAMED):
        return found
    for place, word in enumerate(reading.words):
        name = MONTHS.get(word.lower) or DAYS.get(word.lower) or OTHER.get(word.lemma)
        if name is None and word.text in CAPITAL_MONTHS and not reading.opens(place):
            name = CAPITAL_MONTHS[word.text]
        if name is None and word.lemma in DAYS:
            name = DAYS[word.lemma]
        if name is not None:
            found.add(name)
    return found


def _now(reading: Reading) -> set[str]:
    return {"today"} if reading.lowers & NOW else set()
