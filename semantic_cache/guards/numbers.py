"""Guards of numbers: counts, ordinals, fractions, versions, dates in digits, times of day, money; and of units."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from semantic_cache.guards.amounts import ONES, ORDINALS, PARTS, ROMAN, SCALES, TENS, TIMES, UNIT_NAMES, UNITS
from semantic_cache.guards.differing import clashing, said
from semantic_cache.guards.reading import Reading, Word

THOUSANDS = re.compile(r"\d{1,3}(?:,\d\d\d)+(?:\.\d+)?")
CURRENCY = "$€£¥₹₩"
MINUS = re.compile(r"(?:^|[\s(])-\Z")
JOINING = frozenset(("/", "-", ":"))
ORDINAL_ENDINGS = frozenset(("st", "nd", "rd", "th"))
LONE_LETTERS = frozenset("smglk")
"""Units and scales only where they are written to the digits: 5m, not `5 m` or a word of its own."""
SPELLED = frozenset().union(ONES, TENS, ORDINALS, TIMES, PARTS, SCALES, ("noon", "midnight"))
COUNTING = SPELLED | {word.lower() for word in ROMAN}
COUNTED = re.compile(r"[0-9]|[^\x00-\x7f]")
"""What any number has, in letters or else in digits: most texts have none."""
MEASURES = frozenset(UNITS)
ONE = frozenset(("one", "once", "single", "half"))
"""Said of many things; a number only where the other text has one in its place."""


@dataclass(frozen=True)
class Amount:
    value: str
    unit: str
    vague: bool
    """Nothing is missing where the other text does not say it."""

    @property
    def said(self) -> str:
        return f"{self.value} {self.unit}".rstrip()


Found = list[tuple[slice, Amount]]
"""And the words that say it."""


def numbers(asked: Reading, stored: Reading) -> str | None:
    mine, theirs = list(_amounts(asked)), list(_amounts(stored))
    exact, other_exact = _exact(mine), _exact(theirs)
    if exact == other_exact:
        return None
    here, there = _written(asked, mine), _written(stored, theirs)
    if set(exact) <= there.keys() and set(other_exact) <= here.keys():
        if sorted(exact) != sorted(other_exact):
            return None
        return said("order of numbers", [_row(asked, mine)], [_row(stored, theirs)])
    return said(
        "number",
        [here[amount] for amount in here if amount not in there],
        [there[amount] for amount in there if amount not in here],
    )


def units(asked: Reading, stored: Reading) -> str | None:
    """Each text measures in something that the other does not."""
    return clashing("unit", _units(asked), _units(stored))


def _amounts(reading: Reading) -> Iterator[tuple[slice, Amount]]:
    """In the order of the text; what is written together, as a date or a range, is one."""
    words = reading.words
    at = 0 if COUNTED.search(reading.text) or not reading.lowers.isdisjoint(COUNTING) else len(words)
    while at < len(words):
        if not words[at].is_number and words[at].lower not in SPELLED and words[at].text not in ROMAN:
            at += 1
            continue
        taken, amount = _amount(reading, at)
        if amount is not None:
            yield slice(at, at + taken), amount
        at += taken


def _exact(found: Found) -> list[str]:
    return [amount.said for _, amount in found if not amount.vague]


def _written(reading: Reading, found: Found) -> dict[str, str]:
    """Of each amount, how the text has it."""
    return {amount.said: _text(reading, words) for words, amount in found}


def _row(reading: Reading, found: Found) -> str:
    return " ".join(_text(reading, words) for words, _ in found)


def _text(reading: Reading, words: slice) -> str:
    return reading.text[reading.starts[words.start] : _end(reading, words.stop - 1)]


def _amount(reading: Reading, at: int) -> tuple[int, Amount | None]:
    """How many words it takes from there on, 1 where there is none."""
    word = reading.words[at]
    if word.is_number:
        return _digits(reading, at)
    if word.text in ROMAN:
        return 1, Amount(str(ROMAN[word.text]), "", False)
    if word.lower == "noon":
        return 1, Amount("12:00", "", False)
    if word.lower == "midnight":
        return 1, Amount("0:00", "", False)
    return _spelled(reading, at)


def _digits(reading: Reading, at: int) -> tuple[int, Amount]:
    words = reading.words
    end = at + 1
    text = _plain(words[at].lower)
    while end < len(words) and words[end].is_number and _gap(reading, end) in JOINING:
        text += _gap(reading, end) + _plain(words[end].lower)
        end += 1
    if end < len(words) and words[end].lower in ORDINAL_ENDINGS and not _gap(reading, end):
        end += 1
    clock = _clock(reading, end)
    if clock is not None:
        return end - at + clock[0], Amount(_on_clock(text, clock[1]), "", False)
    before = reading.text[: reading.starts[at]]
    if before.endswith("-") and MINUS.search(before):
        text = f"-{text}"
    before = before.rstrip()[-1:]
    return _measured(reading, at, end, text, UNITS[before][0] if before in CURRENCY and before in UNITS else "", False)


def _spelled(reading: Reading, at: int) -> tuple[int, Amount | None]:
    words = reading.words
    lower = words[at].lower
    total, end = Decimal(0), at
    while end < len(words):
        value = _small(words[end].lower)
        if value is None or (end > at and not (_small_tens(words[end - 1].lower) and value < 10)):
            break
        total += value
        end += 1
    if end > at:
        return _measured(reading, at, end, str(total), "", lower in ONE and end == at + 1)
    for table in (ORDINALS, TIMES, PARTS):
        if lower in table:
            return _measured(reading, at, at + 1, str(table[lower]), "", lower in ONE)
    if lower in SCALES and lower not in LONE_LETTERS:
        return 1, Amount(str(SCALES[lower]), "", False)
    return 1, None


def _measured(reading: Reading, at: int, end: int, text: str, unit: str, vague: bool) -> tuple[int, Amount]:
    """With the scales and the unit that follow."""
    words = reading.words
    value = _decimal(text)
    while value is not None and end < len(words) and _is_scale(reading, end):
        value *= SCALES[words[end].lower]
        end += 1
    if reading.text[_end(reading, end - 1) :].lstrip(" ")[:1] == "%":
        unit = "%"
    elif end < len(words) and _measure(reading, end) in UNITS and not _is_ordinal(words[at]):
        base, factor = UNITS[_measure(reading, end)]
        end += 1
        if not unit:
            unit = base
            value = value * factor if value is not None else None
    return end - at, Amount(text if value is None else _trimmed(value, text), unit, vague and not unit)


def _measure(reading: Reading, at: int) -> str:
    word = reading.words[at]
    if _gap(reading, at) not in ("", " ", "-"):
        return ""
    if len(word.lower) == 1 and _gap(reading, at):
        return ""
    return word.lower if word.lower in UNITS else word.lemma


def _is_scale(reading: Reading, at: int) -> bool:
    word = reading.words[at].lower
    return (
        word in SCALES and _gap(reading, at) in ("", " ", "-") and (word not in LONE_LETTERS or not _gap(reading, at))
    )


def _is_ordinal(word: Word) -> bool:
    return word.lower in ORDINALS


def _clock(reading: Reading, at: int) -> tuple[int, str] | None:
    """`pm`, `p.m.`, `o'clock`: how many words, and which."""
    words = reading.words
    if at < len(words) and words[at].lower in ("am", "pm") and _gap(reading, at) in ("", " "):
        return 1, words[at].lower
    if (
        at + 1 < len(words)
        and words[at].lower in ("a", "p")
        and words[at + 1].lower == "m"
        and _gap(reading, at + 1) == "."
    ):
        return 2, words[at].lower + "m"
    if at < len(words) and words[at].lower in ("oclock", "o'clock"):
        return 1, ""
    return None


def _on_clock(text: str, half: str) -> str:
    hour, _, minute = text.partition(":")
    if not half or not hour.isdecimal() or int(hour) > 12:
        return text if ":" in text else f"{text}:00"
    return f"{int(hour) % 12 + (12 if half == 'pm' else 0)}:{minute or '00'}"


def _small(word: str) -> int | None:
    return ONES.get(word, TENS.get(word))


def _small_tens(word: str) -> bool:
    return word in TENS


def _plain(digits: str) -> str:
    if THOUSANDS.fullmatch(digits):
        digits = digits.replace(",", "")
    digits = "".join(str(int(c)) if c.isdecimal() else c for c in digits)
    whole, _, part = digits.partition(".")
    return whole if part and not part.strip("0") else digits


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text) if len(text) < 30 else None
    except InvalidOperation:
        return None


def _trimmed(value: Decimal, text: str) -> str:
    """As written where it is a bare number, 3.10 is not 3.1; rounded where it was calculated."""
    if value == _decimal(text):
        return text
    return f"{value.normalize():.6g}"


def _gap(reading: Reading, at: int) -> str:
    """Between a word and the one before it."""
    return reading.text[_end(reading, at - 1) : reading.starts[at]] if at else ""


def _end(reading: Reading, at: int) -> int:
    return reading.starts[at] + len(reading.words[at].text)


def _units(reading: Reading) -> set[str]:
    """But for those of numbers, which are compared with them."""
    found: set[str] = set()
    if reading.lowers.isdisjoint(MEASURES) and reading.lemmas.isdisjoint(MEASURES):
        return found
    counted = False
    for word in reading.words:
        measure = UNITS.get(word.lower) or UNITS.get(word.lemma)
        if measure is not None and not counted and len(word.lower) > 1 and word.lower != "second":
            found.add(UNIT_NAMES[measure])
        counted = word.is_number or word.lower in ONES or word.lower in TENS or word.lower in SCALES
    return found
