"""Byte sizes as people write them: "8GiB", "500 MB", 4096."""

from __future__ import annotations

import re
from fractions import Fraction

_POWERS = "KMGT"
_WRITTEN = re.compile(rf"(\d+(?:\.\d+)?)\s*(?:([{_POWERS}])(I?))?B?", re.IGNORECASE | re.ASCII)


def parse_bytes(text: str) -> int:
    """The number of bytes `text` says: KB, MB, ... are powers of 1000, KiB, MiB, ... of 1024.

    A fraction is rounded down to whole bytes. Raises ValueError when the text says anything else.
    """
    written = _WRITTEN.fullmatch(text.strip())
    if written is None:
        raise ValueError(f"{text!r} is not a byte size such as 4096, 500MB or 8GiB")
    number, letter, binary = written.groups()
    power = _POWERS.index(letter.upper()) + 1 if letter else 0
    return int(Fraction(number) * (1024 if binary else 1000) ** power)


def format_bytes(num_bytes: int) -> str:
    """One decimal and a binary unit: "0 B", "1.5 KiB", "20 GiB"."""
    amount, unit = float(num_bytes), "B"
    for letter in _POWERS:
        if amount < 1023.95:  # what would be printed as 1024 belongs to the next unit
            break
        amount, unit = amount / 1024, f"{letter}iB"
    return f"{amount:.1f}".removesuffix(".0") + f" {unit}"
