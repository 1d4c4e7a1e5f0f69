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
    """Wherever it stands: of the same letters the same."""

    text: str
    """As written."""
    lower: str
    lemma: str
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
    def starts(self) -> list[int]:
        """[word]: where each begins in the text, in characters."""
        found = list(WORD.finditer(self.text))
        if len(found) == len(self.words):  # nothing is contracted
            return [match.start() for match in found]
        return [match.start() for match in found for _ in _words(match[0])]

    def opens(self, place: int) -> bool:
        """Whether this word begins a sentence, where a capital says nothing."""
        if not place:
            return True
        before, start = self.starts[place - 1 : place + 1]
        written = WORD.match(self.text, before)
        return before < start and written is not None and bool(SENTENCE_END.search(self.text, written.end(), start))

    @cached_property
    def groups(self) -> frozenset[int]:
        """Of words that can stand for one of these."""
        alike = lexicon().alike
        return frozenset().union(*[alike[lemma] for lemma in self.lemmas if lemma in alike])

    @cached_property
    def unspaced(self) -> str:
        """All words, written as one."""
        return "".join([word.lower for word in self.words])

    @cached_property
    def joined(self) -> frozenset[str]:
        """Neighbours, written as one."""
        return frozenset([one.lower + other.lower for one, other in pairwise(self.words)])

    @cached_property
    def content(self) -> list[int]:
        """Places of words that carry meaning of their own: neither numbers nor function words."""
        return [place for place, word in enumerate(self.words) if not word.is_number and not word.is_function]

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
    words = tuple([word for written in WORD.findall(plain) for word in _words(written)])
    return Reading(plain, len(text), words, frozenset([w.lower for w in words]), frozenset([w.lemma for w in words]))


def only_in(one: Reading, other: Reading) -> list[int]:
    """Places of content words of the first whose like is not in the second, written as one word or as two."""
    known, own = lexicon(), one.lowers - other.lowers
    return [
        place
        for place, word in enumerate(one.words)
        if word.lower in own
        and not word.is_number
        and not word.is_function
        and word.lemma not in other.lemmas
        and not _spaced_otherwise(one, word.lower, other)
        and known.groups(word.lemma).isdisjoint(other.groups)
    ]


def _spaced_otherwise(one: Reading, lower: str, other: Reading) -> bool:
    """Whether one text writes as two words, of which this is one or both, what the other writes as one: `log in`."""
    if lower not in other.unspaced:
        return False
    neighbours = pairwise([word.lower for word in one.words])
    return lower in other.joined or any(lower in pair and "".join(pair) in other.lowers for pair in neighbours)


@lru_cache(maxsize=1 << 16)
def _words(written: str) -> tuple[Word, ...]:
    lower = written.lower()
    if lower in CONTRACTIONS:
        parts = CONTRACTIONS[lower].split()
    elif lower.endswith("'s"):
        parts = [lower[:-2]]
    else:
        parts = [lower]
    return tuple(
        Word(written if len(parts) == 1 else part, part, lemma_of(part), part[0].isdigit(), part in FUNCTION_WORDS)
        for part in parts
    )


def spoken(reading: Reading) -> list[int]:
    """Places of words of content but for what is only polite; of all of them where nothing else is said."""
    return [place for place in reading.content if reading.words[place].lower not in POLITE] or reading.content
