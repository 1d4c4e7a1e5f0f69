"""Answer book: which answers are held, for people: searched, a page at a time, and dropped."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from connectors.proxy.answer_cache import Answering
from connectors.proxy.keeping import Stored
from kvstore import InvalidRequest
from semantic_cache.documents import Document, Held

_MOST_READ = 5000  # documents, for one page of a search by text
_DROPPED_AT_ONCE = 1000


@dataclass(frozen=True)
class Wanted:
    """What must all be true of an answer; None says nothing of it."""

    tenant: str | None = None
    category: str | None = None
    text: str | None = None
    """Stands in the question, in capitals or not."""
    older_than_s: float | None = None

    @property
    def is_everything(self) -> bool:
        return self == Wanted()


@dataclass(frozen=True)
class Line:
    held: Held
    document: Document


@dataclass(frozen=True)
class Page:
    lines: list[Line]
    next_after: int | None
    """Where the next page begins; None behind the last one."""


def page(answering: Answering, wanted: Wanted, now_s: float, after: int, limit: int) -> Page:
    """Those with ids above `after`, in the order of their ids. Reads so many documents at most: it may be short."""
    lines: list[Line] = []
    num_read, last = 0, after
    for held in _fitting(answering, wanted, now_s, after):
        if len(lines) == limit or num_read == _MOST_READ:
            return Page(lines, last)
        num_read, last = num_read + 1, held.id
        document = answering.documents.get(held.id)
        if document is not None and _says(document, wanted):
            lines.append(Line(held, document))
    return Page(lines, None)


def drop(answering: Answering, wanted: Wanted, now_s: float) -> int:
    """How many were held. Raises InvalidRequest where nothing is said of them."""
    if wanted.is_everything:
        raise InvalidRequest("say which answers are meant: text, category, tenant or older_than_s; 0 is all")
    chosen = chosen_ids(answering, wanted, now_s)
    some = (chosen[start : start + _DROPPED_AT_ONCE] for start in range(0, len(chosen), _DROPPED_AT_ONCE))
    return sum(answering.cache.drop(ids) for ids in some)


def chosen_ids(answering: Answering, wanted: Wanted, now_s: float) -> list[int]:
    """Of all that are meant."""
    chosen = []
    for held in _fitting(answering, wanted, now_s, -1):
        document = None if wanted.text is None else answering.documents.get(held.id)
        if wanted.text is None or (document is not None and _says(document, wanted)):
            chosen.append(held.id)
    return chosen


def said(document: Document) -> str:
    """The answer's text, of its first choice; empty where there is none, or it cannot be read."""
    stored = Stored.from_bytes(document.response)
    if stored is None:
        return ""
    choice = stored.answer["choices"][0]
    return str(choice.get("text") or (choice.get("message") or {}).get("content") or "")


def _fitting(answering: Answering, wanted: Wanted, now_s: float, after: int) -> Iterator[Held]:
    """By what is known without reading them."""
    latest_s = math.inf if wanted.older_than_s is None else now_s - wanted.older_than_s
    for held in answering.documents.held():
        known = wanted.tenant in (None, held.tenant) and wanted.category in (None, held.category)
        if held.id > after and known and held.saved_at_s <= latest_s:
            yield held


def _says(document: Document, wanted: Wanted) -> bool:
    return wanted.text is None or wanted.text.casefold() in document.query.text.casefold()
