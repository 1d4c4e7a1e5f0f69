"""What a value of each setting may be, in a file or as a text of the environment, and how it is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch

from codec import codec_class
from connectors.byte_size import parse_bytes
from connectors.codec_choice import AUTO

ALWAYS, SECOND = "always", "second"
QUOTAS, TOKENS = "quotas", "tokens"
SECRETS = {
    *("sidecar.admin_token", "sidecar.token", "proxy.key", "proxy.small_key", "semantic.embedder_key", TOKENS),
    *("remote.url", "remote.replica"),  # which may have a password in them
}
"""Settings that are never shown."""
_MAX_CHUNK_TOKENS = 1 << 16
_MAX_TTL_S = 10**10  # three centuries
_MAX_BYTES = 64 << 40  # a larger map does not fit into a process's address space

T = TypeVar("T")
Value = Path | str | int | float | Mapping[str, int] | Mapping[str, str]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return value


def _path(value: object) -> Path:
    if not _text(value):
        raise ValueError(value)
    return Path(_text(value)).expanduser().absolute()


def _codec(value: object) -> str:
    return AUTO if value == AUTO else codec_class(_text(value)).id


def _one_of(*allowed: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value not in allowed:
            raise ValueError(value)
        return _text(value)

    return parse


def _device(value: object) -> str:
    if value != AUTO and torch.device(_text(value)).type not in ("cpu", "cuda"):
        raise ValueError(value)
    return _text(value)


def _whole(low: int, high: int) -> Callable[[object], int]:
    return lambda value: _within(low, high, int(value) if isinstance(value, str) else value)


def _by_tenant(parse: Callable[[object], T]) -> Callable[[object], dict[str, T]]:
    """A table. A text is JSON, as an environment variable has it."""

    def parse_all(value: object) -> dict[str, T]:
        table = json.loads(value) if isinstance(value, str) else value
        if not isinstance(table, dict):
            raise ValueError(value)
        return {_text(tenant): parse(of_tenant) for tenant, of_tenant in table.items()}

    return parse_all


def is_token(text: str) -> bool:
    """Whether it can be sent in a header and is long enough not to be guessed."""
    return text.isascii() and text.isprintable() and len(text) >= SHORTEST_TOKEN


def _token(value: object) -> str:
    token = _text(value)
    if token and not is_token(token):
        raise ValueError("a token")
    return token


def _url(value: object) -> str:
    url = _text(value)
    if url and not url.startswith(("http://", "https://", "unix:/")):
        raise ValueError(value)
    return url.rstrip("/")


def _http_url(value: object) -> str:
    url = _text(value)
    if url and (not url.startswith(("http://", "https://")) or not url.isascii() or not url.isprintable()):
        raise ValueError(value)
    return url.rstrip("/")


def _remote_url(value: object) -> str:
    """Whether it is one of a store says whoever opens it."""
    url = _text(value)
    if url and ("://" not in url or not url.isascii() or not url.isprintable()):
        raise ValueError(value)
    return url


def _embedder(value: object) -> str:
    return _text(value) if value in ("minilm", "lexical") else _http_url(value) or _text(None)


def _key(value: object) -> str:
    """Whatever may stand in a header."""
    key = _text(value)
    if not (key.isascii() and key.isprintable()):
        raise ValueError("a key")
    return key


def _switch(value: object) -> bool:
    if value in ("true", "false"):
        return value == "true"
    if not isinstance(value, bool):
        raise ValueError(value)
    return value


def _number(low: float, high: float) -> Callable[[object], float]:
    def parse(value: object) -> float:
        number = float(value) if isinstance(value, str) else value
        if isinstance(number, bool) or not isinstance(number, int | float) or not low <= number <= high:
            raise ValueError(value)
        return number

    return parse


def _size(value: object) -> int:
    return _within(0, _MAX_BYTES, parse_bytes(value) if isinstance(value, str) else value)


def _quota(value: object) -> int:
    return _within(1, _MAX_BYTES, _size(value))


def _within(low: int, high: int, value: object) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(value)
    return value


SHORTEST_TOKEN = 16
_TOKEN = f"a text of {SHORTEST_TOKEN} or more printable characters"
_SIZES = "a number of bytes or a text such as 500MB or 8GiB, from 0 to 64TiB"
_EITHER = "true or false"
READERS: Mapping[str, tuple[Callable[[object], Value], str]] = {
    "store.path": (_path, "the path of a directory"),
    "store.chunk_tokens": (_whole(1, _MAX_CHUNK_TOKENS), f"a whole number from 1 to {_MAX_CHUNK_TOKENS}"),
    "store.codec": (_codec, "auto, or the name of an installed codec, such as lossless or int8"),
    "store.profile": (_text, "the path of a file made by `kvstore calibrate`"),
    "store.profile_directory": (_path, "the path of a directory"),
    "store.quality": (_text, "the name of a level of the profile: high, balanced or small; or progressive, all in one"),
    "store.tenant": (_text, "any text"),
    "store.load": (_one_of(AUTO, ALWAYS), "auto, to load what is sooner loaded than computed, or always"),
    "store.save_queue_bytes": (_size, _SIZES),
    "store.admission": (_one_of(ALWAYS, SECOND), f"{ALWAYS} or {SECOND}"),
    "store.ttl_s": (_number(0, _MAX_TTL_S), f"a number of seconds from 0, for ever, to {_MAX_TTL_S}"),
    "device.capacity_bytes": (_size, _SIZES),
    "device.device": (_device, "auto, cpu, cuda, or one of several such as cuda:1"),
    "store.target_ttft_s": (
        _number(0, _MAX_TTL_S),
        f"a number of seconds from 0, for the full quality, to {_MAX_TTL_S}",
    ),
    "memory.capacity_bytes": (_size, _SIZES),
    "shared.path": (_path, "the path of a directory, best one in memory"),
    "shared.capacity_bytes": (_size, _SIZES),
    "disk.capacity_bytes": (_size, _SIZES),
    "staging.capacity_bytes": (_size, _SIZES),
    "sidecar.host": (_text, "the name or address to listen on, or nothing"),
    "sidecar.port": (_whole(0, 65535), "a whole number from 0, for a free one, to 65535"),
    "sidecar.socket": (_path, "the path of a Unix socket"),
    "sidecar.admin_token": (_token, _TOKEN),
    "sidecar.max_frame_bytes": (_size, _SIZES),
    "sidecar.requests_per_s": (_number(0, 1e9), "a number from 0, for any number, to 1e9"),
    "sidecar.url": (_url, "http://HOST:PORT, https://HOST:PORT or unix:/PATH"),
    "sidecar.token": (_token, _TOKEN),
    "sidecar.timeout_s": (_number(0.01, 600), "a number of seconds from 0.01 to 600"),
    "remote.url": (_remote_url, "the URL of a store, such as redis://127.0.0.1:6379"),
    "remote.replica": (_remote_url, "the URL of a store, such as redis://127.0.0.1:6380"),
    "remote.deadline_s": (_number(0.001, 600), "a number of seconds from 0.001 to 600"),
    "remote.ttl_s": (_number(0, _MAX_TTL_S), f"a number of seconds from 0, for ever, to {_MAX_TTL_S}"),
    "remote.in_flight_bytes": (_size, _SIZES),
    "remote.queue_bytes": (_size, _SIZES),
    "semantic.path": (_path, "the path of a directory"),
    "semantic.capacity_bytes": (_size, _SIZES),
    "semantic.capacity_entries": (_whole(1, 10**9), "a whole number from 1 to 1000000000"),
    "semantic.categories": (_text, "the path of a TOML file with [category.NAME] tables"),
    "semantic.embedder": (_embedder, "minilm, lexical, or the URL of an endpoint, such as http://127.0.0.1:8001/v1"),
    "semantic.embedder_model": (_text, "the name of the endpoint's model"),
    "semantic.embedder_dimension": (_whole(1, 1 << 16), f"a whole number from 1 to {1 << 16}"),
    "semantic.embedder_key": (_key, "a text of printable characters"),
    "semantic.examples": (_whole(0, 8), "a whole number from 0, for none, to 8"),
    "semantic.target_latency_s": (_number(0.001, 86400), "a number of seconds from 0.001 to 86400"),
    "semantic.target_calls": (_whole(1, 10**6), "a whole number from 1 to 1000000"),
    "proxy.upstream": (_http_url, "the base URL of an OpenAI-style server, such as http://127.0.0.1:8000/v1"),
    "proxy.small_model": (_text, "the name of a model, or nothing"),
    "proxy.small_upstream": (_http_url, "the base URL of an OpenAI-style server, such as http://127.0.0.1:8001/v1"),
    "proxy.small_key": (_key, "a text of printable characters"),
    "proxy.small_timeout_s": (_number(0.01, 86400), "a number of seconds from 0.01 to 86400"),
    "proxy.small_compared": (_number(0, 1), "a share from 0 to 1"),
    "proxy.key": (_key, "a text of printable characters"),
    "proxy.forward_authorization": (_switch, _EITHER),
    "proxy.timeout_s": (_number(0.01, 86400), "a number of seconds from 0.01 to 86400"),
    "proxy.max_request_bytes": (_size, _SIZES),
    "proxy.max_temperature": (_number(0, 100), "a number from 0 to 100"),
    "proxy.keep_cut_off": (_switch, _EITHER),
    "proxy.ask_usage": (_switch, _EITHER),
    TOKENS: (_by_tenant(_token), f"a table of tenants, each with {_TOKEN}"),
    QUOTAS: (_by_tenant(_quota), f"a table of tenants, each with {_SIZES.replace('from 0', 'from 1')}"),
}
"""Every setting by "table.key", the quotas by their table: how its value is read, and what is allowed."""
