"""Pairs of questions to train the judge on, made from freely licensed text: told apart by how they were made."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from semantic_cache.guards import read
from semantic_cache.guards.function_words import FUNCTION_WORDS, POLITE
from semantic_cache.lexicon import lexicon


@dataclass(frozen=True)
class Pair:
    asked: str
    stored: str
    same: bool
    kind: str


@dataclass(frozen=True)
class Source:
    text: str
    category: str
    intent: str


Change = Callable[[random.Random, str], str | None]

WAYS = (
    ("how do i ", "how can i ", "how to ", "what is the best way to ", "what's the way to ", "i want to know how to "),
    ("how do i ", "can you tell me how to ", "please tell me how to ", "what do i need to do to ", "steps to "),
    ("what is ", "what's ", "tell me ", "can you tell me ", "i need to know ", "do you know ", "i'd like to know "),
    ("can you ", "could you ", "please ", "would you ", "i need you to ", "i want you to ", "help me ", ""),
    ("i want to ", "i need to ", "i'd like to ", "i would like to ", "can i ", "help me ", "i have to "),
    ("where can i ", "where do i ", "tell me where i can ", "where could i ", "do you know where i can "),
    ("why is ", "how come ", "what is the reason ", "tell me why "),
    ("is there ", "do you know if there is ", "i want to know if there is ", "can you check if there is "),
    ("show me ", "let me see ", "i want to see ", "can you show me ", "pull up ", "display "),
    ("do i have ", "have i got ", "can you check if i have ", "tell me if i have "),
)
BEFORE = (
    "please ",
    "hi, ",
    "hello, ",
    "hey ",
    "um ",
    "so ",
    "ok so ",
    "quick question, ",
    "excuse me, ",
    "hi there, ",
    "sorry, ",
)
BEHIND = (" please", " thanks", "?", " thank you", "?", " for me", " ?", "!", " right now")
SHORT = {"do not": "don't", "is not": "isn't", "what is": "what's", "i am": "i'm", "it is": "it's", "i would": "i'd"}


def another_way(rng: random.Random, text: str) -> str | None:
    for ways in rng.sample(WAYS, len(WAYS)):
        for way in sorted(ways, key=len, reverse=True):
            if way and text.startswith(way):
                other = rng.choice([w for w in ways if w != way])
                return other + text[len(way) :]
    return None


def polite(rng: random.Random, text: str) -> str | None:
    return rng.choice((*BEFORE, "", "")) + text + rng.choice((*BEHIND, "", ""))


def synonym(rng: random.Random, text: str) -> str | None:
    known = lexicon()
    words = text.split(" ")
    for place in rng.sample(range(len(words)), len(words)):
        word = words[place]
        groups = [] if word in FUNCTION_WORDS or word in POLITE else sorted(known.groups(word))
        if groups and len(word) > 3:
            others = SYNONYMS[rng.choice(groups)] - {word}
            if others:
                return " ".join([*words[:place], rng.choice(sorted(others)), *words[place + 1 :]])
    return None


def typo(rng: random.Random, text: str) -> str | None:
    words = text.split(" ")
    long = [place for place, word in enumerate(words) if len(word) > 5 and word.isalpha()]
    if not long:
        return None
    place = rng.choice(long)
    word, at = words[place], rng.randrange(1, len(words[place]) - 2)
    words[place] = rng.choice((word[:at] + word[at + 1] + word[at] + word[at + 2 :], word[:at] + word[at + 1 :]))
    return " ".join(words)


def shortened(rng: random.Random, text: str) -> str | None:
    for long, short in SHORT.items():
        if long in text:
            return text.replace(long, short)
        if short in text:
            return text.replace(short, long)
    return re.sub(r"\b(the|a) ", "", text) if rng.random() < 0.5 else None


SAME: tuple[Change, ...] = (another_way, another_way, polite, synonym, synonym, typo, shortened)


class Others:
    """Makes another question of one: with a word in place of one, one more, or one less."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._words: dict[str, list[str]] = defaultdict(list)
        for source in sources:
            said = read(source.text)
            lowers = [said.words[place].lower for place in said.content]
            self._words[source.category] += [lower for lower in lowers if len(lower) > 2]

    def replaced(self, rng: random.Random, source: Source, text: str) -> str | None:
        words = text.split(" ")
        place = self._place(rng, words)
        if place is None:
            return None
        known = lexicon()
        other = rng.choice(self._words[source.category])
        one, two = known.lemma(words[place]), known.lemma(other)
        if one == two or other in words or not known.groups(one).isdisjoint(known.groups(two)):
            return None
        return " ".join([*words[:place], other, *words[place + 1 :]])

    def added(self, rng: random.Random, source: Source, text: str) -> str | None:
        words = text.split(" ")
        place = self._place(rng, words)
        other = rng.choice(self._words[source.category])
        if place is None or other in words:
            return None
        return " ".join([*words[:place], other, *words[place:]])

    def _place(self, rng: random.Random, words: Sequence[str]) -> int | None:
        found = [
            i
            for i, word in enumerate(words)
            if word.isalpha() and len(word) > 2 and word not in FUNCTION_WORDS | POLITE
        ]
        return rng.choice(found) if found else None


def made(rng: random.Random, sources: Sequence[Source], count: int) -> Iterator[Pair]:
    """Half of them the same question; each has been through one to three changes that leave a question what it is."""
    others = Others(sources)
    for _ in range(count):
        source = rng.choice(sources)
        one, two = _said(rng, source.text, 1), _said(rng, source.text, rng.randrange(4))
        if one != two:
            yield Pair(one, two, True, "made")
        changed = rng.choice((others.replaced, others.replaced, others.added))(rng, source, source.text)
        if changed is not None:
            yield Pair(_said(rng, source.text, 1), _said(rng, changed, rng.randrange(4)), False, "made")


def _said(rng: random.Random, text: str, changes: int) -> str:
    for _ in range(changes):
        text = rng.choice(SAME)(rng, text) or text
    return text


def _synonyms() -> dict[int, set[str]]:
    found: dict[int, set[str]] = defaultdict(set)
    for word, groups in lexicon().alike.items():
        for group in groups:
            found[group].add(word)
    return found


SYNONYMS = _synonyms()
