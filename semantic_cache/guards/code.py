"""Guard of what stands for itself: quoted text, identifiers, paths, addresses, error codes, operators."""

from __future__ import annotations

import re

from semantic_cache.guards.differing import differing
from semantic_cache.guards.reading import Reading

QUOTED = re.compile(r"""(?<![\w`])`([^`\n]{1,500})`|"([^"\n]{1,500})"|(?<!\w)'([^'\n]{1,500})'(?!\w)""")
ADDRESS = re.compile(
    r"(?:https?|ftp|file|s3)://[^\s<>\"']+|www\.[^\s<>\"']+|[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+"
)
PATH = re.compile(r"(?<![\w/\\])(?:~|\.{1,2}|[A-Za-z]:)?(?:[/\\][\w.@+-]+){1,32}[/\\]?")
FILE = re.compile(r"(?<![\w.])[\w-]{1,64}+(?:\.[A-Za-z]\w{1,9}){1,4}\b")
SNAKE = re.compile(r"(?<!\w)_*[A-Za-z0-9]++(?:_++[A-Za-z0-9]++)++_*|(?<!\w)__?[A-Za-z]\w*")
CAMEL = re.compile(r"(?<!\w)[a-z]++(?:[A-Z][a-z0-9]++)++(?!\w)|(?<!\w)(?:[A-Z][a-z0-9]++){2,}+(?!\w)")
CALL = re.compile(r"(?<!\w)[A-Za-z_]\w{0,63}+\(\)?")
FLAG = re.compile(r"(?<!\S)--?[A-Za-z][\w-]*")
CODE = re.compile(r"(?<!\w)(?=[A-Z])(?=[\w-]{0,30}\d)[A-Z][A-Z0-9]{1,30}(?:-[A-Z0-9]{1,30})*(?!\w)")
HEXADECIMAL = re.compile("0x[0-9a-fA-F]+")
IDENTIFIERS = tuple(
    (pattern, re.compile(sign))
    for pattern, sign in (
        (ADDRESS, r"@|://|www\."),
        (PATH, r"[/\\]"),
        (FILE, r"\.[A-Za-z]"),
        (SNAKE, "_"),
        (CAMEL, "[a-z0-9][A-Z]"),
        (CALL, r"\("),
        (FLAG, "-[A-Za-z-]"),
        (CODE, r"[A-Z][\w-]{0,30}\d"),
        (HEXADECIMAL, "0x"),
    )
)
"""And a sign without which there is none, which is seen sooner."""
SIGN = re.compile(r"[<>=+*^|~&\\{}\[\]#@]|::")
"""Likewise of operators."""
OPERATOR = re.compile(r"[=!<>+\-*/%&|^~]=|&&|\|\||<<|>>|\*\*|->|=>|::|<>|[<>=+*^|~&\\{}\[\]#@]")
PROSE = re.compile(r"(?m)^\s*[-*#>+]+\s|(?<=\w)[-/&](?=\w)| [-&+/] ")
HINT = re.compile(r"""[^\w\s.,?!']|[\w.]\.\w|[_"]|[a-z][A-Z]|[A-Z][A-Z]*\d|(?<!\w)'|[A-Z][a-z]+[A-Z]""")
"""What any of these begins with: most texts have none."""
QUOTE = re.compile(r"""[`"]|(?<!\w)'""")
PLAIN = re.compile(r"(?:(?:[A-Z]?[a-z]++|[A-Z]|[0-9]++)(?:'[a-z]++)?[.,?!]*+(?:\s++|\Z))*+\Z")
"""Words and the marks between them: no hint of anything, seen sooner."""
SINGLE_WORD = re.compile(r"[^\W\d_]+\Z")


def code(asked: Reading, stored: Reading) -> str | None:
    if not _has_hint(asked.text) and not _has_hint(stored.text):
        return None
    return (
        differing("quotation", _quoted(asked, stored), _quoted(stored, asked))
        or differing("identifier", _identifiers(asked, stored), _identifiers(stored, asked))
        or differing("sign", _operators(asked), _operators(stored))
    )


def _has_hint(text: str) -> bool:
    return not PLAIN.match(text) and HINT.search(text) is not None


def _quoted(reading: Reading, other: Reading) -> set[str]:
    """But for what the other text says without quotes."""
    if not QUOTE.search(reading.text):
        return set()
    said = " ".join(word.lower for word in other.words)
    found = set()
    for match in QUOTED.finditer(reading.text):
        text = next(group for group in match.groups() if group is not None).strip()
        bare = re.sub(r"[^\w\s']", "", text).lower()
        if f" {bare} " not in f" {said} ":
            found.add(text if match.group(1) else bare)
    return found


def _identifiers(reading: Reading, other: Reading) -> set[str]:
    """A name of letters alone may be a brand: it is one of those that the other text has, in whatever letters."""
    text = reading.text
    found = set()
    for pattern, sign in IDENTIFIERS:
        if sign.search(text):
            found |= {match.group().rstrip(".,;") for match in pattern.finditer(text)}
    return {
        name
        for name in found
        if not SINGLE_WORD.match(name) or (name.lower() not in other.lowers and name.lower() not in other.joined)
    }


def _operators(reading: Reading) -> list[str]:
    """But for the signs of lists and of prose."""
    return OPERATOR.findall(PROSE.sub(" ", reading.text)) if SIGN.search(reading.text) else []
