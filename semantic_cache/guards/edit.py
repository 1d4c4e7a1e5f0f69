"""An edit: two texts that are the same but for a word or two, which then make all the difference."""

from __future__ import annotations

from semantic_cache.guards.function_words import FUNCTION_WORDS, POLITE
from semantic_cache.guards.polarity import DENYING, OPPOSITES
from semantic_cache.guards.reading import Reading

_MOST_WORDS = 2  # one in the place of another


def is_edit(asked: Reading, stored: Reading) -> bool:
    """Where they conflict as well, it is no other way to say the same."""
    apart = (asked.lemmas ^ stored.lemmas) - POLITE
    return sum(word not in FUNCTION_WORDS or word in DENYING or word in OPPOSITES for word in apart) <= _MOST_WORDS
