"""Passing: which headers go on to the upstream, and which of its answer's go back.

To it goes what is known to be harmless; whatever of that may change an answer stands in the query's context. Back goes
everything but what is of one connection, or would speak for this service: cookies and promises about the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from starlette.datastructures import Headers

RawHeaders = list[tuple[bytes, bytes]]

_ON = ("accept", "content-type", "user-agent", "openai-beta", "traceparent", "tracestate")
_WITH_AUTHORIZATION = ("authorization", "openai-organization", "openai-project")
_CHANGE_ANSWERS = ("openai-beta", *_WITH_AUTHORIZATION)
_NOT_BACK = {
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"date",
    b"set-cookie",
    b"alt-svc",
    b"strict-transport-security",
    b"age",
}
_OURS = b"x-kvstore-"
_ID, _THEIR_ID = b"x-request-id", b"x-upstream-request-id"


def headers_on(given: Headers, request_id: str, forwards_authorization: bool) -> dict[str, str]:
    """To the upstream. The caller's authorization is for this service, unless it `forwards_authorization`."""
    names = (*_ON, *(_WITH_AUTHORIZATION if forwards_authorization else ()))
    passed = {name: given[name] for name in names if name in given}
    return {**passed, "accept-encoding": "identity", "x-request-id": request_id}


def without_authorization(headers_on: Mapping[str, str]) -> dict[str, str]:
    """For another upstream, whom the caller's is no business of."""
    return {name: value for name, value in headers_on.items() if name not in _WITH_AUTHORIZATION}


def changing_answers(headers_on: Mapping[str, str]) -> dict[str, str]:
    """Those of `headers_on` that an answer may depend on."""
    return {name: headers_on[name] for name in _CHANGE_ANSWERS if name in headers_on}


def headers_back(given: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """Of the upstream's answer, as they came; its id for the request under another name, since we have one."""
    found = [(name.lower(), value) for name, value in given]
    named = {each.strip().lower() for name, value in found if name == b"connection" for each in value.split(b",")}
    kept = [(name, value) for name, value in found if name not in _NOT_BACK | named and not name.startswith(_OURS)]
    return [(_THEIR_ID if name == _ID else name, value) for name, value in kept]
