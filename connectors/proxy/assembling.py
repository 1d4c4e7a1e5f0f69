"""Assembling: the one answer that a stream's chunks amount to, as it would have come without streaming.

What is not known here is not guessed: a stream with a chunk that says more than this reads is no answer to keep.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from connectors.proxy.canonical import Kind
from connectors.proxy.events import DONE, Event

CHUNK = {Kind.CHAT: "chat.completion.chunk", Kind.COMPLETION: "text_completion"}
"""What a chunk calls itself, by the kind of its answer."""
SPOKEN = ("reasoning_content", "reasoning", "content", "refusal")
"""Texts of a message that come in pieces, in the order in which they are said."""
_PASSING = {"object", "choices", "obfuscation"}
_LASTING = {"id", "created", "model", "usage", "system_fingerprint", "service_tier"}
_OF_CHOICE = {"index", "delta", "text", "finish_reason", "stop_reason"}


class NotWhole(Exception):
    """Why there is no answer to keep."""


class Assembler:
    """Of one stream. Takes its events in their order; never raises before it is asked for the answer."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._answer: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._wrong: str | None = None
        self._is_done = False

    def take(self, event: Event) -> None:
        said = event.said
        if said is None or self._wrong is not None:
            return
        if self._is_done:
            self._wrong = "more came after the end"
        elif said == DONE:
            self._is_done = True
        else:
            self._take(said)

    def answer(self) -> dict[str, Any]:
        """Raises NotWhole."""
        if self._wrong is not None:
            raise NotWhole(self._wrong)
        if not self._is_done:
            raise NotWhole("the stream did not end")
        choices = [self._finished(self._choices[index]) for index in sorted(self._choices)]
        return {**self._answer, "object": self._kind.value, "choices": choices}

    def _take(self, said: bytes) -> None:
        try:
            self._add(json.loads(said))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, NotWhole) as error:
            self._wrong = str(error) if isinstance(error, NotWhole) else "a chunk that is none"

    def _add(self, chunk: Mapping[str, Any]) -> None:
        if chunk.get("object") != CHUNK[self._kind]:
            raise NotWhole("a chunk of another kind")
        _require_known("a chunk", chunk, _PASSING | _LASTING)
        for name in _LASTING & chunk.keys():
            if chunk[name] is not None:
                self._answer[name] = chunk[name]
        for choice in chunk["choices"]:
            self._add_choice(choice)

    def _add_choice(self, choice: Mapping[str, Any]) -> None:
        _require_known("a choice", choice, _OF_CHOICE)
        index = choice["index"]
        if type(index) is not int:
            raise NotWhole("a choice without its number")
        known = self._choices.setdefault(index, {"index": index, "said": {}, "calls": {}, "end": {}})
        if known["end"].get("finish_reason") and (choice.get("delta") or choice.get("text")):
            raise NotWhole("a choice goes on after its end")
        for name in ("finish_reason", "stop_reason"):
            if choice.get(name) is not None:
                known["end"][name] = choice[name]
        if self._kind is Kind.COMPLETION:
            _append(known["said"], "text", choice.get("text"))
        else:
            self._add_delta(known, choice.get("delta") or {})

    def _add_delta(self, known: dict[str, Any], delta: Mapping[str, Any]) -> None:
        _require_known("a delta", delta, {"role", "tool_calls", *SPOKEN})
        if delta.get("role") not in (None, "assistant"):
            raise NotWhole("another's role")
        for name in SPOKEN:
            _append(known["said"], name, delta.get(name))
        for call in delta.get("tool_calls") or ():
            _add_call(known["calls"], call)

    def _finished(self, known: Mapping[str, Any]) -> dict[str, Any]:
        end = {"logprobs": None, "finish_reason": None, **known["end"]}
        said = {name: "".join(pieces) for name, pieces in known["said"].items()}
        if self._kind is Kind.COMPLETION:
            return {"index": known["index"], "text": said.get("text", ""), **end}
        calls = [_finished_call(known["calls"][index]) for index in sorted(known["calls"])]
        message: dict[str, Any] = {"role": "assistant", "content": None, **said}
        if calls:
            message |= {"tool_calls": calls, "content": message["content"] or None}
        return {"index": known["index"], "message": message, **end}


def _add_call(calls: dict[int, dict[str, Any]], call: Mapping[str, Any]) -> None:
    _require_known("a tool call", call, {"index", "id", "type", "function"})
    if type(call["index"]) is not int:
        raise NotWhole("a tool call without its number")
    known = calls.setdefault(call["index"], {"id": "", "name": "", "said": {}})
    function = call.get("function") or {}
    _require_known("a function", function, {"name", "arguments"})
    if call.get("type") not in (None, "function"):
        raise NotWhole("a tool that is no function")
    for name, value in (("id", call.get("id")), ("name", function.get("name"))):
        if value and known[name] not in ("", value):
            raise NotWhole("a tool call that changes its name")
        known[name] = value or known[name]
    _append(known["said"], "arguments", function.get("arguments"))


def _finished_call(known: Mapping[str, Any]) -> dict[str, Any]:
    arguments = "".join(known["said"].get("arguments", ()))
    return {"id": known["id"], "type": "function", "function": {"name": known["name"], "arguments": arguments}}


def _append(said: dict[str, Any], name: str, more: object) -> None:
    if more is None:
        return
    if not isinstance(more, str):
        raise NotWhole(f"{name} is no text")
    said.setdefault(name, []).append(more)


def _require_known(what: str, said: Mapping[str, Any], known: set[str]) -> None:
    for name in said.keys() - known:
        if said[name] not in (None, [], {}):
            raise NotWhole(f"{what} says {name!r:.50}, which is not known here")
