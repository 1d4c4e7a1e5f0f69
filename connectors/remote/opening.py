"""Which store a URL names. An engine's file, and the client that it needs, is imported when it is meant."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from connectors.remote.endpoint import WRITING
from connectors.remote.remote_tier import RemoteTier
from connectors.remote.store import RemoteStore
from kvstore import InvalidRequest, Metrics

DEADLINE_S = 0.5


def open_store(url: str, timeout_s: float = 5.0) -> RemoteStore:
    """The store at `url`, which connects when it is first asked; a call of its own takes `timeout_s` at most.

    Raises InvalidRequest on a URL that names none, without repeating its secrets, and when the engine's client is
    not installed.
    """
    scheme = urlsplit(url).scheme
    if scheme not in OPENERS:
        raise InvalidRequest(f"{scheme or 'nothing'} is no kind of remote store; there are {', '.join(OPENERS)}")
    return OPENERS[scheme](url, timeout_s)


def open_remote(
    url: str,
    metrics: Metrics | None = None,
    replica: str = "",
    deadline_s: float = DEADLINE_S,
    in_flight_bytes: int = 64 << 20,
    queue_bytes: int = 256 << 20,
    chunk_s: Callable[[], float] = lambda: 0.0,
    ttl_s: float = math.inf,
    writes: bool = True,
) -> RemoteTier:
    """The tier of the store at `url`, and of its replica where there is one. Raises as `open_store`."""
    stores = [open_store(each, WRITING * deadline_s) for each in (url, replica) if each]
    second = stores[1] if replica else None
    return RemoteTier(stores[0], metrics, second, deadline_s, in_flight_bytes, queue_bytes, chunk_s, ttl_s, writes)


def missing(package: str, extra: str) -> InvalidRequest:
    """The error of a client that is not installed."""
    return InvalidRequest(f"{package} is not installed: pip install 'kvstore[{extra}]' brings it")


def _redis(url: str, timeout_s: float) -> RemoteStore:
    try:
        from connectors.remote.redis_store import RedisStore
        from connectors.remote.redis_url import RedisAddress
    except ImportError as error:
        raise missing("redis-py with hiredis", "redis") from error
    return RedisStore(RedisAddress.of(url), timeout_s)


def _s3(url: str, timeout_s: float) -> RemoteStore:
    try:
        from connectors.remote.s3_store import S3Store  # an optional dependency
        from connectors.remote.s3_url import S3Address
    except ModuleNotFoundError as error:
        raise missing("obstore", "s3") from error
    return S3Store(S3Address.of(url), timeout_s)


def _mooncake(url: str, timeout_s: float) -> RemoteStore:
    try:
        from connectors.remote.mooncake_store import MooncakeStore  # an optional dependency
        from connectors.remote.mooncake_url import MooncakeAddress
    except ModuleNotFoundError as error:
        raise missing("Mooncake's client", "mooncake") from error
    except ImportError as error:
        raise InvalidRequest(f"Mooncake's client does not load ({error}): install Debian's libibverbs1") from error
    return MooncakeStore(MooncakeAddress.of(url), timeout_s)


OPENERS: Mapping[str, Callable[[str, float], RemoteStore]] = {
    "redis": _redis,
    "rediss": _redis,
    "redis+cluster": _redis,
    "rediss+cluster": _redis,
    "s3": _s3,
    "mooncake": _mooncake,
}
"""By a URL's scheme."""
