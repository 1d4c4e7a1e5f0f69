"""Loopback: whether a name or an address means this host, and nobody else reaches it."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

_HOST = re.compile(r"\[([0-9a-fA-F:.]+)\](?::\d+)?|([^:\[\]]*)(?::\d+)?", re.ASCII)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@lru_cache(1024)
def names_this_host(header: str | None) -> bool:
    """Whether a `Host` header does, or there is none. A page from elsewhere, whose name was made to mean this host, has
    the browser send that name.
    """
    if header is None:
        return True
    found = _HOST.fullmatch(header)
    return found is not None and is_loopback((found[1] or found[2]).lower())
