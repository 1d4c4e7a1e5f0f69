"""Layouts: a prompt as the user writes it, its token ids, and which of them are segments.

The text is tokenized once, as a whole, so that the ids are those of the same prompt without segments. A segment is
every token that lies wholly inside of its text: one that a tokenizer has made of the end of a segment and what
follows belongs to neither, and is computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from blend import Layout, Segment
from kvstore import InvalidRequest

_MARKS = "\ue000", "\ue001"  # private use: stand around segments while a chat template is rendered


def layout_of_parts(tokenizer: Any, parts: Sequence[str | Segment], add_special_tokens: bool = True) -> Layout:
    """Of texts in a row, some of which are segments. Raises InvalidRequest as `layout_of_text`."""
    text, spans = "", []
    for part in parts:
        start = len(text)
        text += part.text if isinstance(part, Segment) else part
        if isinstance(part, Segment):
            spans.append((start, len(text)))
    return _layout(tokenizer, text, spans, add_special_tokens)


def layout_of_text(tokenizer: Any, text: str, separator: str, add_special_tokens: bool = True) -> Layout:
    """Of a text whose segments stand between two separators, which stay in the prompt: best lines of their own, since
    many tokenizers join a space to the word behind it.

    Raises InvalidRequest when the separator is empty or the tokenizer does not tell where its tokens stand.
    """
    if not separator:
        raise InvalidRequest("the separator between segments is empty")
    spans, start = [], text.find(separator)
    while start >= 0:
        start += len(separator)
        end = text.find(separator, start)
        if end > start:
            spans.append((start, end))
        start = end
    return _layout(tokenizer, text, spans, add_special_tokens)


def layout_of_chat(tokenizer: Any, messages: Sequence[Mapping[str, Any]]) -> Layout:
    """Of a chat, in the model's format, an answer to follow: in a message whose `content` is a list of strings and
    segments, the segments are. There are none where the model's format changes a text at a segment's end, as by
    trimming. Raises InvalidRequest as `layout_of_text`, and when a text has one of the marks used in it.
    """
    plain, rendered = (
        tokenizer.apply_chat_template(
            [{**message, "content": _joined(message["content"], marks)} for message in messages],
            tokenize=False,
            add_generation_prompt=True,
        )
        for marks in (("", ""), _MARKS)
    )
    if any(mark in plain for mark in _MARKS):
        raise InvalidRequest(f"a message has one of {_MARKS!a} in it, which stand around segments: take it out")
    text, spans = "", []
    for number, piece in enumerate(rendered.split(_MARKS[0])):
        inside, mark, rest = piece.partition(_MARKS[1])
        if number and mark:
            spans.append((len(text), len(text) + len(inside)))
        text += inside + rest
    return _layout(tokenizer, plain, spans if text == plain else [], add_special_tokens=False)


def _joined(content: str | Sequence[str | Segment], marks: tuple[str, str]) -> str:
    if isinstance(content, str):
        return content
    opening, closing = marks
    return "".join(f"{opening}{part.text}{closing}" if isinstance(part, Segment) else part for part in content)


def _layout(tokenizer: Any, text: str, spans: Sequence[tuple[int, int]], add_special_tokens: bool) -> Layout:
    if not getattr(tokenizer, "is_fast", False):
        raise InvalidRequest(f"{type(tokenizer).__name__} does not tell where its tokens stand: use a fast tokenizer")
    encoded = tokenizer(text, add_special_tokens=add_special_tokens, return_offsets_mapping=True)
    return Layout(tuple(encoded.input_ids), tuple(_runs(encoded.offset_mapping, spans)))


def _runs(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The tokens wholly inside of each span that has any."""
    token = 0
    for start, end in spans:
        while token < len(offsets) and (offsets[token][0] < start or offsets[token][0] == offsets[token][1]):
            token += 1
        first = token
        while token < len(offsets) and offsets[token][1] <= end and offsets[token][0] < offsets[token][1]:
            token += 1
        if token > first:
            yield first, token
