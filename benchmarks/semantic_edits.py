"""Pairs that differ by one word: a number, a date or the name of something. No two of them share an answer."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence

from benchmarks.semantic_pairs import Pair


def _words(text: str) -> list[str]:
    return text.split()


_NUMBERS = _words("two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty hundred")
_MONTHS = _words("january february march april june july august september october november december")
_WEEKDAYS = _words("monday tuesday wednesday thursday friday saturday sunday")
_DAYS = _words("today tomorrow yesterday tonight")
_PLACES = _words(
    "india china japan france germany spain italy canada australia england russia brazil mexico pakistan texas florida "
    "california chicago london paris tokyo boston seattle dallas denver atlanta houston miami mumbai delhi dubai "
    "singapore africa europe america"
)
_NAMES = _words(
    "google facebook apple microsoft amazon netflix uber twitter instagram whatsapp samsung toyota honda tesla walmart "
    "starbucks visa mastercard python java trump obama clinton modi john mary michael david sarah"
)
_WORD = re.compile(r"[A-Za-z]+|\d+")
_INNER_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{2,}(?= [a-z]|\?|$)")


def edited(texts: Iterable[str], count: int, seed: int = 0) -> list[Pair]:
    """At most so many, of different texts, the kinds in turn as long as there are texts for them."""
    shuffled = list(dict.fromkeys(texts))
    choose = random.Random(seed)
    choose.shuffle(shuffled)
    names = sorted({name for text in shuffled for name in _INNER_NAME.findall(text)})
    edits: list[tuple[str, Callable[[str], str | None]]] = [
        ("number", lambda text: _number(text, choose)),
        ("date", lambda text: _date(text, choose)),
        ("entity", lambda text: _entity(text, names, choose)),
    ]
    by_kind: dict[str, list[Pair]] = {kind: [] for kind, _ in edits}
    for text in shuffled:
        for kind, edit in sorted(edits, key=lambda each: len(by_kind[each[0]])):
            if (other := edit(text)) is not None:
                by_kind[kind].append(Pair(other, text, False, kind))
                break
    return _in_turn(list(by_kind.values()), count)


def _in_turn(lists: Sequence[Sequence[Pair]], count: int) -> list[Pair]:
    longest = max(map(len, lists))
    return [each[place] for place in range(longest) for each in lists if place < len(each)][:count]


def _number(text: str, choose: random.Random) -> str | None:
    """Digits by others of as many, a word by another word."""

    def other(word: str) -> str | None:
        if not word.isdigit():
            return _other_of(_NUMBERS, word, choose)
        if len(word) == 4 and word[:2] in ("19", "20"):  # a year
            return None
        low = 10 ** (len(word) - 1) if len(word) > 1 else 2
        return str(choose.choice([n for n in range(low, min(10 * low, low + 200)) if n != int(word)]))

    return _replaced(text, other)


def _date(text: str, choose: random.Random) -> str | None:
    def other(word: str) -> str | None:
        if word.isdigit() and len(word) == 4 and word[:2] in ("19", "20"):
            return str(int(word) + choose.choice([-3, -2, -1, 1, 2, 3]))
        for known in (_MONTHS, _WEEKDAYS, _DAYS):
            if found := _other_of(known, word, choose):
                return found
        return None

    return _replaced(text, other)


def _entity(text: str, names: Sequence[str], choose: random.Random) -> str | None:
    """By another of its list, in lower case too; or a name in the middle of a sentence by one of another sentence."""

    def other(word: str) -> str | None:
        return _other_of(_PLACES, word, choose) or _other_of(_NAMES, word, choose)

    if (found := _replaced(text, other)) is not None:
        return found
    place = _INNER_NAME.search(text)
    if place is None:
        return None
    others = [name for name in names if name.casefold() not in text.casefold()]
    return f"{text[: place.start()]}{choose.choice(others)}{text[place.end() :]}" if others else None


def _replaced(text: str, other: Callable[[str], str | None]) -> str | None:
    """The first word that has another, replaced by it; None when none has."""
    for word in _WORD.finditer(text):
        if (found := other(word[0])) is not None:
            return text[: word.start()] + found + text[word.end() :]
    return None


def _other_of(known: Sequence[str], word: str, choose: random.Random) -> str | None:
    if word.casefold() not in known:
        return None
    found = choose.choice([each for each in known if each != word.casefold()])
    return found.capitalize() if word[0].isupper() else found
