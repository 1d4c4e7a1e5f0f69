"""Guard of languages: the others know English, and say nothing of anything else."""

from __future__ import annotations

from semantic_cache.guards.legible import script
from semantic_cache.guards.reading import Reading
from semantic_cache.guards.word_lists import word_set

FEW_WORDS = 4
"""So few may all be names, or do without function words."""
ELSEWHERE = word_set(
    "el los las una unos del por para que como cual cuando donde porque cuanto este esta mis tu su es está qué"
    " cómo cuál dónde cuánto puedo quiero tengo não uma meu minha você quê onde quando il gli della che dove"
    " perché quanto mio mia sono les des et dans pour avec qui quoi comment où quand pourquoi combien mon je"
    " vous nous elle ce cette ist der das ein eine einen und nicht mit von zu wie wo wann warum ich mein meine"
    " kann wir sie wird het een niet hoe waar wanneer waarom ik mijn wij är och att det som för inte hur jag på"
    " av ikke hvor jeg jak gdzie kiedy jest nie czy moje bir ve için yang untuk dengan bagaimana apa saya"
)
"""Short words of other languages in Latin letters, most of them European, that are none in English."""


def english(asked: Reading, stored: Reading) -> str | None:
    return _foreign(asked) or _foreign(stored)


def _foreign(reading: Reading) -> str | None:
    if reading.text.isascii() and reading.lowers.isdisjoint(ELSEWHERE):
        return None
    words = [word for word in reading.words if not word.is_number]
    if not reading.text.isascii():
        for word in words:
            if script(word.text[0]) != "LATIN":
                return f"language: {word.text!r} is {script(word.text[0]).lower()}"
    english_words = sum(word.is_function for word in words)
    elsewhere = [word.lower for word in words if word.lower in ELSEWHERE]
    if len(elsewhere) > english_words or (len(elsewhere) > 1 and len(elsewhere) >= 0.3 * len(words)):
        return f"language: {' '.join(elsewhere[:3])} is not English"
    accented = sum(not word.text.isascii() for word in words)
    if len(words) > FEW_WORDS and not english_words and accented:
        return "language: not known to be English"
    return None
