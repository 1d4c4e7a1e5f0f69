"""Which store a URL names. An engine's file, and the client that it needs, is imported when it is meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from connectors.remote.store import RemoteStore
from kvstore import InvalidRequest


def open_store(url: str, timeout_s: float = 0.5) -> RemoteStore:
    """The store at `url`, which connects when it is first asked; a call of its own takes `timeout_s` at most.

    Raises InvalidRequest on a URL that names none, without repeating its secrets, and when the engine's client is
    not installed.
    """
    scheme = urlsplit(url).scheme
    if scheme not in OPENERS:
        raise InvalidRequest(f"{scheme or 'nothing'} is no kind of remote store; there are {', '.join(OPENERS)}")
    return OPENERS[scheme](url, timeout_s)


def missing(package: str, extra: str) -> InvalidRequest:
    """The error of a client that is not installed."""
    return InvalidRequest(f"{package} is not installed: pip install 'kvstore[{extra}]' brings it")


def _redis(url: str, timeout_s: float) -> RemoteStore:
    from connectors.remote.redis_store import RedisStore
    from connectors.remote.redis_url import RedisAddress

    return RedisStore(RedisAddress.of(url), timeout_s)


OPENERS: Mapping[str, Callable[[str, float], RemoteStore]] = {
    "redis": _redis,
    "rediss": _redis,
    "redis+cluster": _redis,
    "rediss+cluster": _redis,
}
"""By a URL's scheme."""
