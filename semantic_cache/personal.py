"""Personal data in a text: what identifies a person, or opens something that is theirs.

Forms that have a checksum count when it is right. Every pattern is anchored to where a word or a number begins and
bounded in length, so that a text of any kind is read in time linear in its length.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_Check = Callable[[str], bool]


def personal_data(text: str) -> str | None:
    """What kind of it is in a `folded` text, for people to read; None of none. Never quotes it."""
    if "@" in text and _EMAIL.search(text):
        return "an e-mail address"
    if _SAID.search(text):
        return "a name, an address, a date of birth or a password"
    if _SECRET.search(text):
        return "a key or a token"
    numbers = "\n".join(
        text[max(near.start() - _BEFORE, 0) : near.end() + _AFTER] for near in _NEAR_DIGITS.finditer(text)
    )
    return next((what for what, found, check in _NUMBERS if numbers and any(map(check, found.findall(numbers)))), None)


def _digits(text: str) -> list[int]:
    return [int(char) for char in text if char.isdigit()]


def _luhn(text: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    digits = _digits(text)[::-1]
    return sum(digits[::2] + [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]) % 10 == 0


def _iban(text: str) -> bool:
    """ISO 13616: its country's length, then 1 modulo 97. What follows it in the text may have been taken along."""
    compact = text.replace(" ", "").replace("-", "")
    length = _IBAN_LENGTHS.get(compact[:2], 0)
    if not length or len(compact) < length:
        return False
    return int("".join(str(int(char, 36)) for char in compact[4:length] + compact[:4])) % 97 == 1


def _dni(text: str) -> bool:
    """Spain: the letter is the number modulo 23; X, Y and Z before it are 0, 1 and 2."""
    compact = text.replace("-", "").translate(str.maketrans("xyz", "012"))
    letter = text[-1]
    return "trwagmyfpdxbnjzsqvhlcke"[int(compact[:-1]) % 23] == letter


def _nir(text: str) -> bool:
    """France: the last two digits are 97 less the others modulo 97."""
    digits = int("".join(map(str, _digits(text))))
    return 97 - digits // 100 % 97 == digits % 100


def _resident(text: str) -> bool:
    """China, GB 11643: weighted sum modulo 11, where x is 10."""
    values = [10 if char == "x" else int(char) for char in text]
    return sum(value * pow(2, 17 - place, 11) for place, value in enumerate(values)) % 11 == 1


def _verhoeff(text: str) -> bool:
    """India: Verhoeff (1969), in the dihedral group of the pentagon."""
    checksum = 0
    for place, digit in enumerate(reversed(_digits(text))):
        for _ in range(place % 8):
            digit = _VERHOEFF[digit]
        turned = -digit if checksum >= 5 else digit
        checksum = (checksum + turned) % 5 + 5 * ((checksum >= 5) != (digit >= 5))
    return checksum == 0


def _phone(text: str) -> bool:
    return 9 <= len(_digits(text)) <= 12  # fewer: dates


def _always(text: str) -> bool:
    return True


_COUNTRIES = """
    ad24 ae23 al28 at20 az28 ba20 be16 bg22 bh22 br29 by28 ch21 cr22 cy28 cz24 de22 dk18 do28 ee20 eg29 es24
    fi18 fo18 fr27 gb22 ge22 gi23 gl18 gr27 gt28 hr21 hu28 ie22 il23 iq23 is26 it27 jo30 kw30 kz20 lb28 lc32
    li21 lt20 lu20 lv21 ly25 mc27 md24 me22 mk19 mr27 mt31 mu30 nl18 no15 pk24 pl28 ps29 pt25 qa29 ro24 rs22
    sa24 sc31 sd18 se24 si19 sk24 sm27 st25 sv28 tl23 tn24 tr26 ua29 va22 vg24 xk20
"""
_IBAN_LENGTHS = {country_length[:2]: int(country_length[2:]) for country_length in _COUNTRIES.split()}
_VERHOEFF = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
"""Where each digit goes, once more for every place."""
_LABELS = (
    "ssn|social security|passport|drivers? licen[cs]e|driver's licen[cs]e|national id|tax id|account|acct|card|customer"
    "|member|membership|policy|order|booking|reservation|case|ticket|tracking|invoice|patient|employee|student"
    "|phone|mobile|cell|tel|whatsapp|call me at|call me on|text me at|reach me at"
)
_NEAR_DIGITS = re.compile(r"\d(?:[^\d\n]{0,24}\d){3,}")
"""Only there the numbers are looked for: each has four digits at least, and most texts have fewer."""
_BEFORE, _AFTER = 48, 8
"""Characters around digits that belong to what they are: a label, a letter that checks."""
_EMAIL = re.compile(r"@(?<=[\w.+-]@)(?<!\bgit@)[\w-]{1,63}(?:\.[\w-]{1,63}){0,4}\.[^\W\d_]{2,24}\b")
_SAID = re.compile(
    r"\bmy (?:full |first |last |middle )?name(?:'s| is) (?!not|on |in |wrong|spelled|misspelled|incorrect|missing)\w"
    r"|\bmy (?:home |postal |street )?address(?:'s| is|:)[^\n]{0,40}\d"
    r"|\bi live (?:at|on) [^\n]{0,20}\d"
    r"|\b(?:my birthday|my date of birth|my dob|i was born)(?:'s| is| on|:)[^\n]{0,20}\d"
    r"|\bmy (?:password|passcode|passphrase|pin|pin code)(?: is|:) [^\s]{0,20}\d"
)
_SECRET = re.compile(
    r"(?<![\w-])(?:sk-[\w-]{16}|akia[a-z0-9]{16}|gh[pousr]_\w{30}|xox[abprs]-[\w-]{10}|eyj[\w-]{10,}\.eyj[\w-]{10})"
    r"|-----begin [a-z ]{0,20}private key"
)
# Those with a group in a look-ahead are found at overlapping places: what was taken for one may hide another.
_NUMBERS: tuple[tuple[str, re.Pattern[str], _Check], ...] = (
    ("a card number", re.compile(r"(?<!\d)(?=([2-6]\d{3}[ -]?(?:\d{4}[ -]?){2}\d{1,7})(?!\d))"), _luhn),
    ("a card number", re.compile(r"(?<!\d)(?=(3\d{3}[ -]?\d{6}[ -]?\d{5})(?!\d))"), _luhn),
    ("an IBAN", re.compile(r"(?<![a-z0-9])(?=([a-z]{2}\d{2}(?:[ -]?[a-z0-9]){11,30}))", re.ASCII), _iban),
    ("a phone number", re.compile(r"(?<![\w+.])(?<!\d[ -])(?:\+|00)\d{1,3}(?:[ ()./-]{0,2}\d){6,13}(?!\d)"), _always),
    ("a phone number", re.compile(r"(?<![\w.+-])\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?![\w-])"), _always),
    ("a phone number", re.compile(r"(?<![\w.,])(?<!\d[ -])(?=(0\d{1,4}(?:[ ./-]\d{2,8}){1,4})(?!\w))"), _phone),
    ("a national id", re.compile(r"(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])"), _always),
    ("a national id", re.compile(r"(?<!\w)[a-ceghj-pr-tw-z][a-ceghj-npr-tw-z](?: ?\d{2}){3} ?[a-d](?!\w)"), _always),
    ("a national id", re.compile(r"(?<!\w)(?:\d{8}|[xyz]-?\d{7})-?[a-z](?!\w)"), _dni),
    ("a national id", re.compile(r"(?<!\w)[a-z]{6}\d{2}[a-ehlmprst]\d{2}[a-z]\d{3}[a-z](?!\w)"), _always),
    ("a national id", re.compile(r"(?<!\d)\d{3}\.\d{3}\.\d{3}-\d{2}(?!\d)"), _always),
    ("a national id", re.compile(r"(?<!\w)[a-z]{3}[abcfghjlpt][a-z]\d{4}[a-z](?!\w)"), _always),
    ("a national id", re.compile(r"(?<!\d)[12] ?\d{2} ?(?:0[1-9]|1[0-2])(?: ?\d{2})(?: ?\d{3}){2} ?\d{2}(?!\d)"), _nir),
    ("a national id", re.compile(r"(?<!\w)\d{17}[\dx](?!\w)"), _resident),
    ("a national id", re.compile(r"(?<!\d)(?<!\d[ -])[2-9]\d{3}(?:[ -]\d{4}){2}(?![ -]?\d)"), _verhoeff),
    ("a national id", re.compile(r"(?<!\d)(?:\d{2})?(\d{2}(?:0[1-9]|1[0-2])[0-3]\d[-+]\d{4})(?!\d)"), _luhn),
    (
        "a number of an account or a person",
        re.compile(
            rf"\b(?:{_LABELS})(?: (?:number|no\.?|nr\.?|id|code))?(?: is| was)?"
            r"[ :#=]{0,3}[a-z]{0,4}-?(?:\d[ -]?){5}"
        ),
        _always,
    ),
)
"""What, where it is, and whether it is one."""
