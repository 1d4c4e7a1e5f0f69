"""Guards: each compares two texts in one respect, and names the conflict that rules one's answer out for the other.

They know English and only say what rules an answer out: what they let pass is not right for that.
"""

from __future__ import annotations

from collections.abc import Callable

from semantic_cache.guards.calendar import calendar
from semantic_cache.guards.code import code
from semantic_cache.guards.edit import is_edit
from semantic_cache.guards.language import english
from semantic_cache.guards.legible import legible, same_forms
from semantic_cache.guards.names import names
from semantic_cache.guards.numbers import numbers, units
from semantic_cache.guards.order import order
from semantic_cache.guards.polarity import negation, opposites
from semantic_cache.guards.question import asked_for, modality, owner, tense
from semantic_cache.guards.reading import Reading, read
from semantic_cache.guards.scope import scope
from semantic_cache.lexicon import lexicon

__all__ = ["FINGERPRINT_VERSION", "GUARDS", "Reading", "conflicts", "guards_fingerprint", "is_edit", "read"]

FINGERPRINT_VERSION = 1
"""Grows with every change of what the guards say."""

Guard = Callable[[Reading, Reading], str | None]

BARRIERS: tuple[Guard, ...] = (legible, english)
"""Where these find something the others cannot read the texts."""
GUARDS: tuple[Guard, ...] = (
    same_forms,
    numbers,
    units,
    calendar,
    negation,
    opposites,
    names,
    code,
    order,
    scope,
    asked_for,
    owner,
    tense,
    modality,
)


def conflicts(asked: Reading, stored: Reading) -> tuple[str, ...]:
    """All that rules out the answer of one for the other, in words for people; empty where nothing does.

    Of any text, in time that grows with its length; both ways the same but for which text is named first.
    """
    for barrier in BARRIERS:
        found = barrier(asked, stored)
        if found is not None:
            return (found,)
    return tuple(found for guard in GUARDS if (found := guard(asked, stored)) is not None)


def guards_fingerprint() -> str:
    return f"guards {FINGERPRINT_VERSION} {lexicon().fingerprint}"
