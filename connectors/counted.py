"""Counts with their nouns."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """ "1 chunk", "2 chunks"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
