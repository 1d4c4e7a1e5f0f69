"""Guard of texts that cannot be read as words: too long, empty, binary, disguised."""

from __future__ import annotations

import unicodedata
from collections import Counter

from semantic_cache.guards.differing import differing
from semantic_cache.guards.reading import LONGEST_CHARS, Reading

WHITE = frozenset("\t\n\r\f\v")
UNREADABLE = frozenset(("Cc", "Cf", "Co", "Cs", "Cn"))
"""Categories of characters that show nothing, or nobody knows what."""


def legible(asked: Reading, stored: Reading) -> str | None:
    return _unreadable(asked) or _unreadable(stored)


def same_forms(asked: Reading, stored: Reading) -> str | None:
    """Superscripts, ligatures, letters of mathematics: what looks like other characters is compared as it is."""
    if asked.text.isascii() and stored.text.isascii():
        return None
    return differing("characters", _forms(asked.text), _forms(stored.text))


def _unreadable(reading: Reading) -> str | None:
    if reading.length > LONGEST_CHARS:
        return f"text: {reading.length} characters are too many to compare"
    if not reading.words:
        return "text: nothing in it to compare"
    if reading.text.isascii() and reading.text.isprintable():
        return None
    for character in set(reading.text) - WHITE:
        if unicodedata.category(character) in UNREADABLE or character == "\ufffd":
            return f"text: U+{ord(character):04X} cannot be read"
    return _disguised(reading)


def _disguised(reading: Reading) -> str | None:
    """A word of letters that look alike in two alphabets, or with marks that were put on letters one by one."""
    if reading.text.isascii():
        return None
    for word in reading.words:
        scripts = {script(character) for character in word.text if character.isalpha()}
        if len(scripts) > 1:
            return f"text: {word.text!r} mixes {' and '.join(sorted(scripts))}"
    if any(unicodedata.combining(character) for character in reading.text):
        return "text: marks on letters that have none"
    return None


def script(letter: str) -> str:
    """LATIN, CYRILLIC, ...: the first word of a letter's name."""
    return unicodedata.name(letter, "UNKNOWN").split()[0].split("-")[0]


def _forms(text: str) -> list[str]:
    counted = Counter(character for character in text if unicodedata.normalize("NFKC", character) != character)
    return [f"{character} {count} times" if count > 1 else character for character, count in counted.items()]
