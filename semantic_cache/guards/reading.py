"""A reading: one text as the guards see it, in words, and what is in it that they cannot read."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import NamedTuple

from semantic_cache.guards.function_words import CONTRACTIONS, FUNCTION_WORDS, POLITE
from semantic_cache.lexicon import lemma_of, lexicon

LONGEST_CHARS = 1000
"""Beyond it a text is not read: embedders cut it as well, and nobody asks the same in so many words."""

WORD = re.compile(r"\d+(?:[.,:]\d+)*|[^\W\d_]+(?:'[^\W\d_]+)*")
QUOTES = str.maketrans(dict(zip("\u2018\u2019\u02bc\u201c\u201d\u2013\u2014\u2026\u00a0", "'''\"\"--  ", strict=True)))
SENTENCE_END = re.compile(r"[.?!:\n]")


class Word(NamedTuple):
    text: str
    """As written."""
    lower: str
    lemma: str
    start: int
    """Where it begins in `Reading.text`, in characters."""
    opens: bool
    """It begins a sentence, where a capital says nothing."""
    is_number: bool
    """In digits."""
    is_function: bool


@dataclass(frozen=True)
class Reading:
    text: str
    """Composed, with plain quotes and dashes; empty when it is too long to be read."""
    length: int
    """In characters, of the text as it came."""
    words: tuple[Word, ...]
    """In order. Letters and digits written together are two words, contractions are what they stand for."""
    lowers: frozenset[str]
    lemmas: frozenset[str]

    @cached_property
    def groups(self) -> frozenset[int]:
        """Of words that can stand for one of these."""
        known = lexicon()
        return frozenset().union(*(known.groups(lemma) for lemma in self.lemmas))

    @cached_property
    def joined(self) -> frozenset[str]:
        """Neighbours, written as one."""
        return frozenset([one.lower + other.lower for one, other in pairwise(self.words)])

    @cached_property
    def content(self) -> tuple[Word, ...]:
        """Words that carry meaning of their own: neither numbers nor function words."""
        return tuple(word for word in self.words if not word.is_number and not word.is_function)

    @cached_property
    def capitals_mean(self) -> bool:
        """Whether a capital sets a word apart: not in Titles, nor IN SHOUTING."""
        letters = [word for word in self.words if not word.is_number]
        capitals = sum(word.text[0].isupper() for word in letters)
        return capitals <= max(2, 0.6 * len(letters))


def read(text: str) -> Reading:
    """Of any text. Takes time in proportion to its length, and little once it is too long."""
    plain = ""
    if len(text) <= LONGEST_CHARS:
        plain = text if text.isascii() else unicodedata.normalize("NFC", text).translate(QUOTES)
    words = _words(plain)
    return Reading(plain, len(text), words, frozenset([w.lower for w in words]), frozenset([w.lemma for w in words]))


def only_in(one: Reading, other: Reading) -> list[Word]:
    """Content words of the first whose like is not in the second, written as one word or as two."""
    known, own = lexicon(), one.lowers - other.lowers
    return [
        word
        for word in one.words
        if word.lower in own
        and not word.is_number
        and not word.is_function
        and word.lemma not in other.lemmas
        and word.lower not in other.joined
        and not _half(one, word.lower, other)
        and known.groups(word.lemma).isdisjoint(other.groups)
    ]


def _half(one: Reading, lower: str, other: Reading) -> bool:
    """Whether the second text writes this word and a neighbour of it as one: `log in` and `login`."""
    if one.joined.isdisjoint(other.lowers):
        return False
    neighbours = pairwise([word.lower for word in one.words])
    return any(lower in halves and "".join(halves) in other.lowers for halves in neighbours)


def _words(text: str) -> tuple[Word, ...]:
    found: list[Word] = []
    end = 0
    for match in WORD.finditer(text):
        start = match.start()
        opens = not end or (text[end:start] != " " and SENTENCE_END.search(text, end, start) is not None)
        end = match.end()
        for written, lower, lemma, is_number, is_function in _parts(match[0]):
            found.append(Word._make((written, lower, lemma, start, opens, is_number, is_function)))  # half of the time
            opens = False
    return tuple(found)


@lru_cache(maxsize=1 << 16)
def _parts(written: str) -> tuple[tuple[str, str, str, bool, bool], ...]:
    """Of words, as they are written, all that does not depend on where they stand: as `Word` has it."""
    lower = written.lower()
    if lower in CONTRACTIONS:
        parts = CONTRACTIONS[lower].split()
    elif lower.endswith("'s"):
        parts = [lower[:-2]]
    else:
        parts = [lower]
    return tuple(
        (written if len(parts) == 1 else part, part, lemma_of(part), part[0].isdigit(), part in FUNCTION_WORDS)
        for part in parts
    )


def spoken(reading: Reading) -> list[Word]:
    """Words of content but for what is only polite; all of them where nothing else is said."""
    return [word for word in reading.content if word.lower not in POLITE] or list(reading.content)
