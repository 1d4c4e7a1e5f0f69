"""Guard of scope: how many of them, which of them, and how far it goes."""

from __future__ import annotations

from semantic_cache.guards.differing import clashing, differing
from semantic_cache.guards.reading import Reading
from semantic_cache.guards.word_lists import word_set

DECISIVE = {
    "only": "only solely exclusively",
    "except": "except excluding besides barring apart",
    "all": "all every each entire whole everything everyone everybody total overall altogether",
    "any": "any anything anyone anybody",
    "both": "both",
    "either": "either",
    "most": "majority",
    "first": "first earliest initial original oldest",
    "last": "last latest final newest recent",
    "next": "next upcoming following",
    "previous": "previous prior former earlier",
    "again": "again",
    "average": "average mean median typical",
    "maximum": "maximum max limit",
    "minimum": "minimum min",
    "daily": "daily",
    "weekly": "weekly",
    "monthly": "monthly",
    "annual": "annual annually yearly",
    "always": "always",
    "never": "never",
    "permanent": "permanently forever permanent",
    "temporary": "temporarily temporary",
}
"""By what each of them means: a text that says it is not answered by one that does not."""
LOOSE = word_set("all any maximum minimum daily weekly monthly annual permanent temporary")
"""Left out as often as not: a conflict only where the other text has another scope."""
SCOPE = {word: meaning for meaning, words in DECISIVE.items() for word in words.split()}
SCOPES = frozenset(SCOPE)


def scope(asked: Reading, stored: Reading) -> str | None:
    mine, theirs = _scopes(asked), _scopes(stored)
    if not mine and not theirs:
        return None
    return differing("scope", mine - LOOSE, theirs - LOOSE) or clashing(
        "scope", mine | _one(asked), theirs | _one(stored)
    )


def _scopes(reading: Reading) -> set[str]:
    return {SCOPE[lower] for lower in SCOPES & reading.lowers}


def _one(reading: Reading) -> set[str]:
    """What `all` is not: `a`, `one`, `this`."""
    return {"one"} if reading.lowers & {"one", "this", "that", "single", "some", "specific"} else set()
