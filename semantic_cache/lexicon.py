"""The lexicon: which English words are known, what they are forms of, which are alike and which opposite.

Made of WordNet 3.0 (Princeton University; see weights/WORDNET-LICENSE) by `python -m benchmarks.judge_lexicon`.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import blake2b
from pathlib import Path

LEXICON = Path(__file__).parent / "weights" / "lexicon.json.gz"

PREFIXES = ("un", "in", "im", "il", "ir", "dis", "non", "de", "mis", "anti", "counter")
ENDINGS = (
    ("ies", "y"),
    ("sses", "ss"),
    ("shes", "sh"),
    ("ches", "ch"),
    ("xes", "x"),
    ("zes", "z"),
    ("es", "e"),
    ("es", ""),
    ("s", ""),
    ("ied", "y"),
    ("ed", "e"),
    ("ed", ""),
    ("ing", "e"),
    ("ing", ""),
    ("iest", "y"),
    ("est", "e"),
    ("est", ""),
    ("ier", "y"),
    ("er", "e"),
    ("er", ""),
    ("ily", "y"),
    ("ly", "le"),
    ("ly", ""),
)
COMPARING = ("er", "est")


@dataclass(frozen=True)
class Lexicon:
    known: frozenset[str]
    """In small letters, as all words here, and uninflected."""
    names: frozenset[str]
    """Of people, places, languages, companies: words that are written with a capital only."""
    forms: dict[str, str]
    """Irregular forms and what they are forms of."""
    alike: dict[str, frozenset[int]]
    """Of a word, the groups of words that it can stand for."""
    opposite: dict[str, frozenset[str]]
    """Both ways."""
    fingerprint: str

    def lemma(self, word: str) -> str:
        """What a word is a form of: `cards` of `card`; itself where that is not known."""
        if word in self.forms:
            return self.forms[word]
        if word in self.known:
            return self._singular(word)
        for ending, instead in ENDINGS:
            if not word.endswith(ending) or len(word) - len(ending) < 2:
                continue
            stem = word[: len(word) - len(ending)] + instead
            if stem in self.known:
                return stem
            if not instead and len(stem) > 3 and stem[-1] == stem[-2] and stem[:-1] in self.known:
                return stem[:-1]
        return word[:-1] if word.endswith("s") and len(word) > 3 and not word.endswith(("ss", "us", "is")) else word

    def is_known(self, word: str) -> bool:
        return self.lemma(word) in self.known

    def groups(self, lemma: str) -> frozenset[int]:
        """Two lemmas that have one in common can stand for each other, in some sense that is common."""
        return self.alike.get(lemma, frozenset())

    def opposites(self, word: str) -> Iterator[str]:
        """Words that mean the reverse, some of which nobody uses."""
        yield from self.opposite.get(word, ())
        for prefix in PREFIXES:
            if len(word) > 2:
                yield prefix + word
            if word.startswith(prefix) and len(word) > len(prefix) + 2:
                yield word[len(prefix) :]

    def _singular(self, word: str) -> str:
        """A plural, participle or comparison that is also a word of its own counts as a form all the same."""
        for ending, instead in ENDINGS:
            if ending in COMPARING or ending in ("iest", "ier") or not word.endswith(ending):
                continue
            stem = word[: len(word) - len(ending)] + instead
            if len(stem) > 2 and stem in self.known and not word.endswith("ss"):
                return stem
        return word


@cache
def lexicon() -> Lexicon:
    """Read once in a process. Raises FileNotFoundError where the package is incomplete."""
    packed = LEXICON.read_bytes()
    content = json.loads(gzip.decompress(packed))
    alike: dict[str, set[int]] = defaultdict(set)
    for group, words in enumerate(content["alike"]):
        for word in words.split():
            alike[word].add(group)
    opposite: dict[str, set[str]] = defaultdict(set)
    for pair in content["opposite"]:
        one, other = pair.split()
        opposite[one].add(other)
        opposite[other].add(one)
    return Lexicon(
        known=frozenset(content["known"].split()),
        names=frozenset(content["names"].split()),
        forms=content["forms"],
        alike={word: frozenset(groups) for word, groups in alike.items()},
        opposite={word: frozenset(others) for word, others in opposite.items()},
        fingerprint=blake2b(packed, digest_size=8).hexdigest(),
    )


@lru_cache(maxsize=1 << 16)
def lemma_of(word: str) -> str:
    """`Lexicon.lemma`, of most words at once."""
    return lexicon().lemma(word)
