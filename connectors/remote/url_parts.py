"""What the URLs of remote stores have in common."""

import re
from urllib.parse import SplitResult, parse_qsl

_NAMESPACE = re.compile(r"[A-Za-z0-9_.\-/]{1,100}", re.ASCII)


def options_of(parts: SplitResult) -> dict[str, str]:
    """What follows the question mark. Raises ValueError when that is not `name=value&...`."""
    return dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))


def taken_namespace(options: dict[str, str]) -> str:
    """What every name in the store begins with, taken out of the options. Raises ValueError for none."""
    namespace = options.pop("namespace", "kvstore")
    if not _NAMESPACE.fullmatch(namespace):
        raise ValueError(namespace)
    return namespace


def bracketed(host: str) -> str:
    """As a URL gives it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
