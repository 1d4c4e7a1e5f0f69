"""Keeping: which answers may be given again, and the bytes that the cache keeps of them.

Whole ones alone, that the model ended by itself and that say what they cost. Anything else is computed anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connectors.proxy.assembling import SPOKEN, NotWhole
from connectors.proxy.canonical import Asked, Kind

MOST_BYTES = 4 << 20
_ENDS = {"stop", "tool_calls", "function_call"}
_CUT_OFF = "length"
_USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")


@dataclass(frozen=True)
class Stored:
    """An answer as the cache has it."""

    kind: Kind
    answer: Mapping[str, Any]
    asked: Mapping[str, Any] | None = None
    """The body that it answers; None where nobody will compute it again."""

    def to_bytes(self) -> bytes:
        asked = {} if self.asked is None else {"asked": self.asked}
        return json.dumps({"kind": self.kind, "answer": self.answer, **asked}, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Stored | None:
        """None where that is no such answer: it is then a miss."""
        try:
            fields = json.loads(content)
            stored = cls(Kind(fields["kind"]), fields["answer"], fields.get("asked"))
            _require_shape(stored.kind, stored.answer)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, NotWhole):
            return None
        return stored


def only_text(content: bytes) -> str | None:
    """Of an answer as the cache has it, with one choice and no calls of tools."""
    stored = Stored.from_bytes(content)
    choices = stored.answer["choices"] if stored else []
    if len(choices) != 1:
        return None
    message = choices[0].get("message") or {"content": choices[0].get("text")}
    return None if message.get("tool_calls") else message.get("content")


def kept(asked: Asked, answer: object, keeps_cut_off: bool = False) -> Stored:
    """What to keep of a whole answer. Raises NotWhole, with why, where it is not to be given again."""
    if not isinstance(answer, dict):
        raise NotWhole("the answer is no object")
    try:
        _require_shape(asked.kind, answer)
        _require_usage(answer["usage"])
        if len(answer["choices"]) != asked.num_choices:
            raise NotWhole("not as many choices as were asked for")
        for choice in answer["choices"]:
            _require_ended(choice, keeps_cut_off)
            if asked.kind is Kind.CHAT:
                _require_spoken(choice["message"], bool(asked.by_words_only))
    except (TypeError, KeyError, AttributeError) as error:
        raise NotWhole("an answer without all of its parts") from error
    return Stored(asked.kind, answer)


def _require_shape(kind: Kind, answer: Mapping[str, Any]) -> None:
    """That it can be sent again, as a stream too."""
    if answer["object"] != kind or not isinstance(answer["model"], str) or not answer["choices"]:
        raise NotWhole("an answer of another kind")
    if [choice["index"] for choice in answer["choices"]] != list(range(len(answer["choices"]))):
        raise NotWhole("choices are missing")
    for choice in answer["choices"]:
        if kind is Kind.COMPLETION and not isinstance(choice["text"], str):
            raise NotWhole("a choice without its text")
        if kind is Kind.CHAT:
            _require_message(choice["message"])


def _require_message(message: Mapping[str, Any]) -> None:
    if message["role"] != "assistant":
        raise NotWhole("another's role")
    if any(not isinstance(message.get(name), str | None) for name in SPOKEN):
        raise NotWhole("a message that is no text")
    for call in message.get("tool_calls") or ():
        named = call["id"], call["function"]["name"], call["function"]["arguments"]
        if not all(isinstance(each, str) for each in named):
            raise NotWhole("a tool call without its name")


def _require_usage(usage: Mapping[str, Any]) -> None:
    """Whoever is wrong about what it did may have done something else."""
    asked, said, total = (usage[name] for name in _USAGE)
    if any(type(count) is not int for count in (asked, said, total)) or asked < 0 or said < 1 or total < asked + said:
        raise NotWhole("the usage is not to be believed")


def _require_ended(choice: Mapping[str, Any], keeps_cut_off: bool) -> None:
    reason = choice.get("finish_reason")
    if reason not in _ENDS and not (keeps_cut_off and reason == _CUT_OFF):
        raise NotWhole(f"finish_reason {reason!r:.30}")


def _require_spoken(message: Mapping[str, Any], acts: bool) -> None:
    """`acts`: calls of tools may be kept."""
    calls = message.get("tool_calls") or message.get("function_call")
    if message.get("refusal") or message.get("audio"):
        raise NotWhole("a refusal" if message.get("refusal") else "sound")
    if calls and not acts:
        raise NotWhole("a call of a tool that nobody offered")
    if not calls and not message.get("content"):
        raise NotWhole("an empty answer")
