"""Answers and their categories, as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from connectors.byte_size import format_bytes
from connectors.cli.output import format_age, print_fields, print_line, print_table

if TYPE_CHECKING:
    from connectors.proxy.schemas import AnswerBody, CategoryLine

_QUESTION_CHARACTERS, _ANSWER_CHARACTERS = 60, 40
_CATEGORY_COLUMNS = [
    *("category", "exact>", "semantic>", "misses>", "hit rate>", "explored>", "barred>", "entries>", "size>"),
    *("oldest>", "newest>", "threshold>", "wrong>", "at most>", "labels>"),
]
_ANSWER_COLUMNS = ["id>", "question", "answer", "category", "tenant", "model", "size>", "age>", "expires>"]


def print_categories(categories: Sequence[CategoryLine], now_s: float) -> None:
    print_table(_CATEGORY_COLUMNS, [_category_row(category, now_s) for category in categories])
    if any(category.threshold is None for category in categories):
        print_line(
            "Where the threshold is none yet, only the same words are answered: too little is known of others, or the "
            "category takes no others."
        )


def print_answers(answers: Sequence[AnswerBody], now_s: float) -> None:
    print_table(_ANSWER_COLUMNS, [_answer_row(answer, now_s) for answer in answers])


def print_answer(answer: AnswerBody, now_s: float) -> None:
    print_fields(
        [
            ("id", str(answer.id)),
            ("category", answer.category),
            ("tenant", _printable(answer.tenant) or "none named"),
            ("model", _printable(answer.model)),
            ("computed for", _printable(answer.writer)),
            ("computed", f"{format_age(now_s - answer.saved_at_s)} ago, in {answer.compute_s:.1f} s"),
            ("expires", _expires(answer, now_s) or "never"),
            ("size", format_bytes(answer.size_bytes)),
            ("question", _printable(answer.question)),
            ("answer", _printable(answer.answer)),
        ]
    )


def _category_row(category: CategoryLine, now_s: float) -> tuple[str, ...]:
    return (
        category.category,
        str(category.hits_exact),
        str(category.hits_semantic),
        str(category.misses + category.not_searched),
        _percent(category.hit_rate),
        str(category.explored),
        str(category.barred),
        str(category.entries),
        format_bytes(category.size_bytes),
        _age(category.oldest_at_s, now_s),
        _age(category.newest_at_s, now_s),
        "none yet" if category.threshold is None else f"{category.threshold:.3f}",
        _percent(category.wrong, 2),
        _percent(category.wrong_at_most, 2),
        str(category.observed),
    )


def _answer_row(answer: AnswerBody, now_s: float) -> tuple[str, ...]:
    return (
        str(answer.id),
        _cut(answer.question, _QUESTION_CHARACTERS),
        _cut(answer.answer, _ANSWER_CHARACTERS),
        answer.category,
        _printable(answer.tenant),
        _printable(answer.model),
        format_bytes(answer.size_bytes),
        format_age(now_s - answer.saved_at_s),
        _expires(answer, now_s),
    )


def _expires(answer: AnswerBody, now_s: float) -> str:
    return "" if answer.expires_at_s is None else f"in {format_age(answer.expires_at_s - now_s)}"


def _age(at_s: float | None, now_s: float) -> str:
    return "" if at_s is None else format_age(now_s - at_s)


def _percent(share: float | None, digits: int = 1) -> str:
    return "" if share is None else f"{share:.{digits}%}"


def _cut(text: str, characters: int) -> str:
    line = _printable(text)
    return line if len(line) <= characters else line[: characters - 1] + "…"


def _printable(text: str) -> str:
    """On one line. Others wrote it: what would move a terminal's cursor is shown as a mark."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in " ".join(text.split()))
