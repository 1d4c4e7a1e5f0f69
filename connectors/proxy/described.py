"""Described: what the OpenAPI description says of the proxy's routes, whose bodies are the upstream's to understand."""

from __future__ import annotations

from typing import Any

from connectors.proxy.events import MEDIA_TYPE
from connectors.proxy.wishes import CATEGORY_PATTERN, LONGEST_S
from connectors.sidecar.problems import OF_BODIES, responses

_JSON = {"application/json": {"schema": {"type": "object"}}}
_EVENTS: dict[str, Any] = {MEDIA_TYPE: {}}
BODY = {"requestBody": {"required": True, "content": _JSON}}
_PROBLEMS = responses(
    *("unauthorized", "no-upstream", "invalid-request", "too-many-requests", *OF_BODIES),
    *("unavailable", "upstream-failed", "upstream-timeout", "not-cached"),
)
_MARKS = {
    name: {"description": said, "schema": {"type": "string"}}
    for name, said in {
        "x-kvstore-cache": "hit, miss or bypass.",
        "x-kvstore-cache-why": "One sentence, for people.",
        "x-kvstore-cache-rung": "Of a hit: exact or semantic.",
        "x-kvstore-hit-id": "What feedback names.",
        "x-kvstore-category": "What the question was counted as.",
        "x-kvstore-model": "Of a miss, where a small model may answer: which one did.",
        "x-kvstore-examples": "How many stored answers the small model was shown.",
        "x-kvstore-explanation": "JSON of what was decided, where it was asked for.",
        "age": "Of a hit: seconds since it was computed.",
    }.items()
}
_AS_UPSTREAM = {"description": "What the upstream answered, as it came.", "headers": _MARKS, "content": _JSON}
CACHED: dict[int | str, dict[str, Any]] = {
    200: {"description": "An answer.", "headers": _MARKS, "content": {**_JSON, **_EVENTS}},
    "default": _AS_UPSTREAM,
    **_PROBLEMS,
}
PASSED: dict[int | str, dict[str, Any]] = {200: _AS_UPSTREAM, "default": _AS_UPSTREAM, **_PROBLEMS}

_WISHES: list[dict[str, Any]] = [
    {"name": name, "in": "header", "required": False, "description": said, "schema": schema}
    for name, said, schema in (
        ("cache-control", "no-cache, no-store, max-age=N or only-if-cached.", {"type": "string"}),
        ("x-kvstore-cache", "Whether the cache is left out, or given a new answer.", {"enum": ["bypass", "refresh"]}),
        ("x-kvstore-category", "What the question is counted as.", {"type": "string", "pattern": CATEGORY_PATTERN}),
        ("x-kvstore-ttl-s", "For how long the answer is kept.", {"type": "number", "minimum": 0, "maximum": LONGEST_S}),
        ("x-kvstore-explain", "Whether the decision is explained.", {"enum": ["true", "false"]}),
    )
]
TEXT, _TEXT_PART = {"type": "string"}, {"type": {"enum": ["text"]}, "text": {"type": "string"}}
_CONTENT = {"anyOf": [TEXT, {"type": "array", "items": {"type": "object", "properties": _TEXT_PART}}]}
_MESSAGE = {"type": "object", "required": ["role"], "properties": {"role": TEXT, "content": _CONTENT}}
MESSAGES = {"type": "array", "minItems": 1, "items": _MESSAGE}
_SAMPLING = {"temperature": {"type": "number"}, "n": {"type": "integer"}, "stream": {"type": "boolean"}}


def asking(**question: Any) -> dict[str, Any]:
    """An endpoint's `openapi_extra`: what the cache reads of a body, which may say all else that the upstream knows."""
    properties = {"model": TEXT, **question, **_SAMPLING}
    schema = {"type": "object", "required": ["model", *question], "properties": properties}
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "parameters": _WISHES,
    }
