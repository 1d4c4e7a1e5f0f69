"""Guards of what is asked: who, when, where, why, how many; of whom; in which tense; may it or must it."""

from __future__ import annotations

import itertools

from semantic_cache.guards.differing import clashing, differing, said
from semantic_cache.guards.reading import Reading, Word
from semantic_cache.guards.word_lists import listed, word_set

ASKING = {"who": "who", "whom": "who", "whose": "whose", "when": "when", "where": "where", "why": "why"}
HOW = {
    "many": "how many",
    "much": "how much",
    "long": "how long",
    "often": "how often",
    "frequently": "how often",
    "far": "how far",
    "old": "how old",
    "tall": "how tall",
    "big": "how big",
    "large": "how big",
    "fast": "how fast",
    "soon": "when",
    "come": "why",
}
NAMED = {
    "reason": "why",
    "purpose": "why",
    "cause": "why",
    "number": "how many",
    "count": "how many",
    "amount": "how much",
    "cost": "how much",
    "price": "how much",
    "fee": "how much",
    "charge": "how much",
    "balance": "how much",
    "money": "how much",
    "duration": "how long",
    "time": "when",
    "date": "when",
    "day": "when",
    "year": "when",
    "location": "where",
    "place": "where",
    "person": "who",
    "age": "how old",
    "distance": "how far",
    "height": "how tall",
    "size": "how big",
    "speed": "how fast",
    "frequency": "how often",
}
"""Words that ask the same without asking."""
OWNERS = {
    **dict.fromkeys(("my", "mine", "our", "ours"), "my"),
    **dict.fromkeys(("your", "yours"), "your"),
    **dict.fromkeys(("his", "him", "he", "himself"), "his"),
    **dict.fromkeys(("her", "hers", "she", "herself"), "her"),
    **dict.fromkeys(("their", "theirs", "them", "they"), "their"),
}
THIRD = frozenset(("his", "her"))
"""Of somebody: a text that names another, or nobody, may mean somebody else."""
SPANS = word_set("time second minute hour day week month year")
AUXILIARIES = word_set("is are was were do does did can could should must may might will would has have had am")
MUST = word_set("must should ought shall")
MAY = word_set("can could may might")
TENSES = {
    **dict.fromkeys(listed("is are am do does has have"), "present"),
    **dict.fromkeys(listed("was were did had"), "past"),
    "will": "future",
}
QUESTION_WORDS = 3
USED = frozenset(("use", "used"))
ASKED, NAMING, OWNING = frozenset(ASKING), frozenset(NAMED), frozenset(OWNERS)


def asked_for(asked: Reading, stored: Reading) -> str | None:
    mine, theirs = _kinds(asked), _kinds(stored)
    found = clashing("question", mine - _named(stored), theirs - _named(asked))
    if found is not None:
        return found
    for here, there, other in ((mine, theirs, stored), (theirs, mine, asked)):
        if "why" in here and "why" not in there | _named(other) and _is_other_question(other):
            return said("question", sorted(mine) or ["another"], sorted(theirs) or ["another"])
    return None


def owner(asked: Reading, stored: Reading) -> str | None:
    """Mine or yours, his or hers."""
    mine, theirs = _owners(asked), _owners(stored)
    return differing("whose", mine & THIRD, theirs & THIRD) or clashing("whose", mine, theirs)


def tense(asked: Reading, stored: Reading) -> str | None:
    mine, theirs = _tense(asked), _tense(stored)
    if mine and theirs and mine != theirs:
        return said("tense", [mine], [theirs])
    return _no_longer(asked, stored) or _no_longer(stored, asked)


def modality(asked: Reading, stored: Reading) -> str | None:
    """Of questions for yes or no: must it be, or may it."""
    mine, theirs = _modality(asked), _modality(stored)
    return said("modality", [mine], [theirs]) if mine and theirs and mine != theirs else None


def _kinds(reading: Reading) -> set[str]:
    found = {ASKING[lower] for lower in ASKED & reading.lowers}
    if "how" in reading.lowers:
        words = reading.words
        places = (place for place in range(1, len(words)) if words[place - 1].lower == "how")
        found |= {_how(words, place) for place in places if words[place].lower in HOW}
    return found


def _how(words: tuple[Word, ...], place: int) -> str:
    """`How much time` and `how many days` are `how long`."""
    after = words[place + 1].lemma if place + 1 < len(words) else ""
    return "how long" if after in SPANS and words[place].lower in ("many", "much") else HOW[words[place].lower]


def _named(reading: Reading) -> set[str]:
    return {NAMED[lemma] for lemma in NAMING & reading.lemmas}


def _is_other_question(reading: Reading) -> bool:
    return (
        bool(reading.lowers & {"how", "what", "which", "who", "when", "where"}) or reading.words[0].lower in AUXILIARIES
    )


def _owners(reading: Reading) -> set[str]:
    """Where `you` are anybody, so is what is yours; not where one asks `can you`."""
    found = {OWNERS[lower] for lower in OWNING & reading.lowers}
    anybody = "you" in reading.lowers and any(word.lower == "you" for word in reading.words[2:])
    return found - {"your"} if anybody else found


def _tense(reading: Reading) -> str:
    """Of the verb that a question begins with, or that follows what it asks for."""
    for word in reading.words[:QUESTION_WORDS]:
        if word.lower in TENSES:
            return TENSES[word.lower]
    return ""


def _no_longer(one: Reading, other: Reading) -> str | None:
    """`used to be` and `becoming` are not `is`."""
    if "become" in one.lemmas and "become" not in other.lemmas and other.lowers & {"is", "are", "was", "were"}:
        return "tense: become is not be"
    if one.lowers.isdisjoint(USED) or not other.lowers.isdisjoint(USED) or "did" in other.lowers:
        return None
    if any(word.lower in USED and after.lower == "to" for word, after in itertools.pairwise(one.words)):
        return "tense: what used to be is not what is"
    return None


def _modality(reading: Reading) -> str:
    if not reading.words or reading.words[0].lower not in AUXILIARIES:
        return ""
    lowers = [word.lower for word in reading.words[:5]]
    if lowers[0] in MUST or any(
        word in ("have", "need") and after == "to" for word, after in itertools.pairwise(lowers)
    ):
        return "must"
    if lowers[0] in MAY and "you" not in lowers[1:2]:
        return "may"
    return ""
