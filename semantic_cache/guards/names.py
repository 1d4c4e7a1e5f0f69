"""Guard of names: people, places, products, companies, languages; and any word that nobody knows, which may be one."""

from __future__ import annotations

from semantic_cache.guards.amounts import SCALES, UNITS
from semantic_cache.guards.differing import said
from semantic_cache.guards.function_words import POLITE
from semantic_cache.guards.numbers import ORDINAL_ENDINGS
from semantic_cache.guards.reading import Reading, Word, only_in
from semantic_cache.lexicon import lexicon

OF_PLACES = frozenset(("n", "an", "ian", "ean", "i", "s", "ish", "ese", "er"))
"""What makes a name of one who is from there."""
MEASURING = frozenset(UNITS) | frozenset(SCALES) | ORDINAL_ENDINGS | frozenset(("a", "p", "m", "am", "pm", "oclock"))
"""What stands behind numbers, which have a guard of their own."""
TYPO_CHARS = 5
"""Shorter words that differ by a letter are different words."""


def names(asked: Reading, stored: Reading) -> str | None:
    """A name of one text is not in the other."""
    mine, theirs = only_in(asked, stored), only_in(stored, asked)
    my_names = _unmatched(asked, mine, stored, theirs)
    their_names = _unmatched(stored, theirs, asked, mine)
    if not my_names and not their_names:
        return None
    return said("name", my_names or _texts(asked, mine), their_names or _texts(stored, theirs))


def _unmatched(reading: Reading, own: list[int], other: Reading, others: list[int]) -> list[str]:
    """Of words at the places `own`, of which the other text has none, names that none at `others` stands for."""
    return [
        reading.words[place].text
        for place in own
        if _is_name(reading, place)
        and not any(_same(reading.words[place].lower, other.words[another].lower) for another in others)
        and not _is_short(reading.words[place], other)
        and not _stands_for(reading, place, other)
    ]


def _is_name(reading: Reading, place: int) -> bool:
    word = reading.words[place]
    if word.lower in POLITE or word.lower in MEASURING or word.lemma in UNITS:
        return False
    known = lexicon()
    if word.lower in known.names or word.lemma not in known.known:
        return True
    return word.text[0].isupper() and reading.capitals_mean and not reading.opens(place)


def misspelled(one: str, other: str) -> bool:
    """`recieve` and `receive`, of which one is a word and no name."""
    short, long = sorted((one, other), key=len)
    if len(short) < TYPO_CHARS or len(long) > len(short) + 1:
        return False
    known = lexicon()
    return (
        known.is_known(one) != known.is_known(other)
        and one not in known.names
        and other not in known.names
        and _one_edit(short, long)
    )


def _same(name: str, word: str) -> bool:
    """`India` and `Indian` too."""
    short, long = sorted((name, word), key=len)
    of_places = len(short) >= TYPO_CHARS - 1 and long.startswith(short) and long[len(short) :] in OF_PLACES
    return of_places or misspelled(name, word)


def _one_edit(short: str, long: str) -> bool:
    """One letter more, another one, or two of them swapped."""
    if len(long) - len(short) > 1:
        return False
    at = 0
    while at < len(short) and short[at] == long[at]:
        at += 1
    if len(long) > len(short):
        return short[at:] == long[at + 1 :]
    return short[at + 1 :] == long[at + 1 :] or (
        short[at : at + 2] == long[at : at + 2][::-1] and short[at + 2 :] == long[at + 2 :]
    )


def _is_short(word: Word, other: Reading) -> bool:
    """First letters of words of the other text, in capitals."""
    initials = "".join(another.lower[0] for another in other.words)
    return len(word.lower) > 1 and word.text.isupper() and word.lower in initials


def _stands_for(reading: Reading, place: int, other: Reading) -> bool:
    """One of the words whose first letters the other text has in capitals: `machine learning` and `ML`."""
    letters = [w.lower[0] for w in reading.words]
    for short in other.words:
        size = len(short.lower)
        if size < 2 or not short.text.isupper() or short.lower in reading.lowers:
            continue
        for start in range(max(0, place - size + 1), min(place, len(letters) - size) + 1):
            if "".join(letters[start : start + size]) == short.lower:
                return True
    return False


def _texts(reading: Reading, places: list[int]) -> list[str]:
    return [reading.words[place].text for place in places]
