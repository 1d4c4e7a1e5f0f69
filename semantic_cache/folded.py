"""Folding: texts that read alike become the same letters, so that rules about words cannot be dodged by spelling."""

# ruff: noqa: RUF001 - letters that look like others are what this is about

from __future__ import annotations

import unicodedata

_UNSEEN = {"Cf", "Mn", "Me"}
"""Categories of characters that take no room of their own: joiners, directions, tags, accents."""
_LONGEST = 6
"""Characters that one may decompose into; whole phrases in one character are a way to make a text 18 times as long."""
_ALIKE = str.maketrans(
    "аеорсухіјѕԁһԛԝкмтոοανρτυικεχı‐‒–—―−’‘`´",
    "aeopcyxijsdhqwkmtnoavptuikexi------''''",
)
"""Cyrillic, Armenian and Greek letters that look Latin; dashes; apostrophes."""


def folded(text: str) -> str:
    """In small letters without accents, with digits 0 to 9; lines with single spaces between words, no empty ones.

    In time linear in the length, whatever the text. Meaning is lost on the way: for rules alone, never for a key.
    """
    if not text.isascii():
        # Accents go before decomposing too, which takes quadratic time for long runs of them.
        decomposed = unicodedata.normalize("NFKD", _plain(text))
        text = _plain(decomposed).casefold().translate(_ALIKE)
    lines = (" ".join(line.split()) for line in text.lower().splitlines())
    return "\n".join(line for line in lines if line)


def _plain(text: str) -> str:
    """Without what is not seen."""
    return text.translate({ord(char): _in_place_of(char) for char in set(text) if not char.isascii()})


def _in_place_of(char: str) -> str:
    if unicodedata.category(char) in _UNSEEN:
        return ""
    digit = unicodedata.decimal(char, None)
    if digit is not None:
        return str(digit)
    return char if len(unicodedata.normalize("NFKD", char)) <= _LONGEST else " "
