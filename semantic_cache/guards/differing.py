"""What two readings' findings of one kind differ in, said for people."""

from __future__ import annotations

from collections.abc import Iterable

SHOWN_CHARS = 40


def differing(kind: str, asked: Iterable[str], stored: Iterable[str]) -> str | None:
    """Where one has what the other has not."""
    mine, theirs = set(asked), set(stored)
    if mine == theirs:
        return None
    return said(kind, sorted(mine - theirs), sorted(theirs - mine))


def clashing(kind: str, asked: Iterable[str], stored: Iterable[str]) -> str | None:
    """Where each has what the other has not: that one of them says less is no conflict."""
    mine, theirs = set(asked), set(stored)
    if mine <= theirs or theirs <= mine:
        return None
    return said(kind, sorted(mine - theirs), sorted(theirs - mine))


def said(kind: str, asked: list[str], stored: list[str]) -> str:
    if not stored:
        return f"{kind}: {_short(asked)} was not asked before"
    if not asked:
        return f"{kind}: {_short(stored)} is not asked now"
    return f"{kind}: {_short(asked)} is not {_short(stored)}"


def _short(found: list[str]) -> str:
    text = ", ".join(found)
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"
