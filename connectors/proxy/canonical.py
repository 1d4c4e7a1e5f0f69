"""Canonical request: which query an OpenAI-style body asks of the cache, or why it asks none.

Everything that stands in the body is part of the query's context, fields that nobody here knows as well, except for
those that say how the answer is sent or who asked. So an answer is given only to who asks the same model with the same
instructions, history, tools and sampling; the last message of the user alone may be worded otherwise.

Some questions are compared by their words only, and never find a paraphrase's answer: with tools, whose arguments are
acted on; of several choices; of raw completions, whose text is instructions, history and question in one; and empty
ones. Others are no question for a cache: images and sound, probabilities (which are of one computation), searches of
the web, and temperatures above `max_temperature`. That is 1 unless set otherwise: sampling is part of the context, so
at a temperature that models are used at by default any answer of that context is as right as another, while who asks
for more than that asks for variety.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NoReturn

from semantic_cache.query import Query, context_digest, normalized


class Kind(StrEnum):
    CHAT = "chat.completion"
    COMPLETION = "text_completion"


PATHS = {Kind.CHAT: "/chat/completions", Kind.COMPLETION: "/completions"}
"""Where each is asked, behind the base URL."""


@dataclass(frozen=True)
class Asked:
    """Of one request: the query, and how its answer is to be sent."""

    kind: Kind
    query: Query
    by_words_only: str
    """Why no paraphrase's answer does; empty where one may."""
    num_choices: int
    streams: bool
    wants_usage: bool
    """As the last chunk of a stream."""
    fields: Mapping[str, Any]
    """The body as it came."""

    def body(self) -> bytes:
        return json.dumps(self.fields, separators=(",", ":")).encode()

    def with_usage(self) -> Asked:
        """The same, and that a stream end with its usage: without it an answer cannot be kept."""
        options = {**(self.fields.get("stream_options") or {}), "include_usage": True}
        return replace(self, fields={**self.fields, "stream_options": options})

    def whole(self) -> Asked:
        """The same, to be answered at once."""
        fields = {name: value for name, value in self.fields.items() if name not in ("stream", "stream_options")}
        return replace(self, streams=False, wants_usage=False, fields=fields)


class NoQuestion(Exception):
    """Why a request is none for the cache; it goes to the upstream as it came."""


_OF_NO_ACCOUNT = {
    "model",  # is the query's own
    "stream",
    "stream_options",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "metadata",
}
_STREAM_OPTIONS = {"include_usage", "include_obfuscation"}
_NEVER = {
    "logprobs": "probabilities are of one computation",
    "top_logprobs": "probabilities are of one computation",
    "prompt_logprobs": "probabilities are of one computation",
    "audio": "sound is not cached",
    "web_search_options": "what the web says changes",
    "store": "the upstream is to store it",
}
_TOOLS = ("tools", "functions")
_MOST_CHOICES = 128


def read_request(
    kind: Kind,
    body: bytes,
    tenant: str,
    category: str | None = None,
    max_temperature: float = 1.0,
    sent_along: Mapping[str, str] | None = None,
) -> Asked:
    """Of a body as it came. `sent_along` is what else the upstream is told. Raises NoQuestion."""
    fields = _fields(body)
    _require_cacheable(fields, max_temperature)
    num_choices = _num_choices(fields)
    text, around = _chat_text(fields) if kind is Kind.CHAT else _completion_text(fields)
    by_words_only = _by_words_only(kind, fields, text, num_choices)
    said = {name: value for name, value in fields.items() if name not in _OF_NO_ACCOUNT} | around
    context = {"kind": kind, "said": said, "sent_along": dict(sent_along or {})}
    if by_words_only:
        context["text"] = normalized(text)  # alone in its partition, it is nobody's neighbour
    try:
        digest = context_digest(context)
    except ValueError as error:
        raise NoQuestion("a number beyond numbers") from error
    return Asked(
        kind,
        Query(text, digest, fields["model"], tenant, category),
        by_words_only,
        num_choices,
        _flag(fields, "stream"),
        _wants_usage(fields),
        fields,
    )


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body.decode(), object_pairs_hook=_named_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise NoQuestion(f"the body is not plain JSON: {type(error).__name__}") from error
    if not isinstance(fields, dict):
        raise NoQuestion("the body is no object")
    if not isinstance(fields.get("model"), str):
        raise NoQuestion("no model is named")
    return fields


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two values under one name, the upstream may take the other one."""
    named = dict(pairs)
    if len(named) < len(pairs):
        raise ValueError("a name is given twice")
    return named


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _require_cacheable(fields: Mapping[str, Any], max_temperature: float) -> None:
    for name, why in _NEVER.items():
        if fields.get(name) not in (None, False):
            raise NoQuestion(f"{name}: {why}")
    if fields.get("modalities") not in (None, ["text"]):
        raise NoQuestion("modalities: more than text is asked for")
    temperature = fields.get("temperature")
    temperature = 1.0 if temperature is None else temperature
    if isinstance(temperature, bool) or not isinstance(temperature, int | float):
        raise NoQuestion("temperature is no number")
    if not temperature <= max_temperature:
        raise NoQuestion(f"temperature {temperature:g} asks for variety")


def _num_choices(fields: Mapping[str, Any]) -> int:
    num_choices = 1 if fields.get("n") is None else fields["n"]
    if type(num_choices) is not int or not 1 <= num_choices <= _MOST_CHOICES:
        raise NoQuestion("n is no number of choices")
    return num_choices


def _by_words_only(kind: Kind, fields: Mapping[str, Any], text: str, num_choices: int) -> str:
    if any(fields.get(name) for name in _TOOLS):
        return "tools"
    if num_choices > 1:
        return "several choices"
    if kind is Kind.COMPLETION:
        return "a raw completion"
    return "" if normalized(text) else "no words"


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise NoQuestion(f"{name} is neither true nor false")
    return bool(value)


def _wants_usage(fields: Mapping[str, Any]) -> bool:
    options = fields.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict) or options.keys() - _STREAM_OPTIONS:
        raise NoQuestion("stream_options asks for more than a replay has")
    return _flag(options, "include_usage")


def _chat_text(fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The last message's text; and the messages without it."""
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(each, dict) for each in messages):
        raise NoQuestion("messages is no list of messages")
    *earlier, last = messages
    if last.get("role") != "user":
        raise NoQuestion("the last message is not the user's")
    if any(_is_more_than_text(each.get("content")) for each in messages):
        raise NoQuestion("messages with more than text")
    content = last.get("content")
    if isinstance(content, str):
        return content, {"messages": [*earlier, {**last, "content": None}]}
    if not content:
        raise NoQuestion("the last message has no content")
    *parts, part = content
    return part["text"], {"messages": [*earlier, {**last, "content": [*parts, {**part, "text": None}]}]}


def _is_more_than_text(content: object) -> bool:
    if content is None or isinstance(content, str):
        return False
    return not isinstance(content, list) or not all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str) for part in content
    )


def _completion_text(fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    prompt = fields.get("prompt")
    if not isinstance(prompt, str):
        raise NoQuestion("prompt is not one text")
    return prompt, {"prompt": None}
