"""Sameness: whether two answers say the same, for who compares an answer that is held with one computed anew.

In doubt it is not said to be so: sameness that is not seen costs a hit, sameness that is not there an answer that is
wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from connectors.proxy.keeping import Stored, only_text
from semantic_cache.embedder import Embedder
from semantic_cache.judge import Judge

_SAME = 0.6  # of a judge's score
_WORDS = re.compile(r"\w+|[^\w\s]")
_NO_WEIGHT = {".", ",", "!", ";", ":", "*", "`", '"', "'"}


def same_answer(held: bytes, computed: bytes) -> bool:
    """Of two answers as the cache keeps them. False where one of them is none."""
    one, other = (Stored.from_bytes(content) for content in (held, computed))
    return one is not None and other is not None and _said(one) == _said(other)


def same_in_other_words(embedder: Embedder, judge: Judge) -> Callable[[bytes, bytes], bool]:
    """As `same_answer`; or where the judge finds that one text says what the other does, number by number."""

    def same(held: bytes, computed: bytes) -> bool:
        if same_answer(held, computed):
            return True
        one, other = (only_text(content) for content in (held, computed))
        if one is None or other is None:
            return False
        vectors = embedder.embed([one, other])
        judgement = judge.judge(one, other, float(vectors[0] @ vectors[1]))
        return not judgement.conflicts and judgement.score >= _SAME

    return same


def _said(stored: Stored) -> list[object]:
    """By choice: its words, without case, space and marks that mean nothing; and its calls of tools as they are."""
    choices = stored.answer["choices"]
    messages = [choice.get("message") or {"content": choice.get("text")} for choice in choices]
    return [(_words(message.get("content") or ""), _calls(message.get("tool_calls") or ())) for message in messages]


def _words(text: str) -> list[str]:
    return [word for word in _WORDS.findall(text.casefold()) if word not in _NO_WEIGHT]


def _calls(calls: object) -> str:
    """Without their ids, which are new each time."""
    named = [call["function"] for call in calls] if isinstance(calls, list) else []
    return json.dumps(named, sort_keys=True)
