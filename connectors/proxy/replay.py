"""Replay: an answer that is kept, sent as the caller asked: one JSON, or the chunks of a stream.

It has an id and a time of its own; its model and usage are those of when it was computed.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from connectors.proxy.assembling import CHUNK, SPOKEN
from connectors.proxy.canonical import Kind
from connectors.proxy.events import LAST, event_of
from connectors.proxy.keeping import Stored

_ID = {Kind.CHAT: "chatcmpl-", Kind.COMPLETION: "cmpl-"}
_PIECE = re.compile(r".{1,24}\S*", re.DOTALL)  # some words, none of them cut


def whole(stored: Stored, now_s: float) -> bytes:
    """One JSON. `now_s` in Unix seconds."""
    return json.dumps({**stored.answer, **_new(stored.kind, now_s)}, separators=(",", ":")).encode()


def streamed(stored: Stored, now_s: float, with_usage: bool) -> Iterator[bytes]:
    """Events, of which the last is [DONE]."""
    answer = stored.answer
    head = {**_new(stored.kind, now_s), "object": CHUNK[stored.kind], "model": answer["model"]}
    head |= {name: answer[name] for name in ("system_fingerprint", "service_tier") if answer.get(name) is not None}
    usage = {"usage": None} if with_usage else {}
    for choice in answer["choices"]:
        for said in _of_completion(choice) if stored.kind is Kind.COMPLETION else _of_message(choice):
            chunk = {"index": choice["index"], "logprobs": None, "finish_reason": None, **said}
            yield event_of({**head, "choices": [chunk], **usage})
    if with_usage:
        yield event_of({**head, "choices": [], "usage": answer["usage"]})
    yield LAST


def _new(kind: Kind, now_s: float) -> dict[str, Any]:
    return {"id": _ID[kind] + secrets.token_hex(12), "created": int(now_s)}


def _of_completion(choice: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for piece in pieces(choice["text"]):
        yield {"text": piece}
    yield {"text": "", **_end(choice)}


def _of_message(choice: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    message = choice["message"]
    apart = {"role", "tool_calls", *SPOKEN}
    more = {name: value for name, value in message.items() if name not in apart and value not in (None, [], {})}
    yield {"delta": {"role": message["role"], "content": "", **more}}
    for name in SPOKEN:
        for piece in pieces(message.get(name) or ""):
            yield {"delta": {name: piece}}
    for index, call in enumerate(message.get("tool_calls") or ()):
        yield {"delta": {"tool_calls": [{"index": index, **call}]}}
    yield {"delta": {}, **_end(choice)}


def _end(choice: Mapping[str, Any]) -> dict[str, Any]:
    return {name: choice[name] for name in ("finish_reason", "stop_reason") if choice.get(name) is not None}


def pieces(text: str) -> list[str]:
    """Of some words each; one behind the other, they are the text."""
    return _PIECE.findall(text)
