"""MooncakeAddress: what a mooncake:// URL says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from kvstore import InvalidRequest

_FORM = "mooncake://HOST[:PORT][?namespace=NAME&admin_port=PORT], of mooncake_master"
_NAMESPACE = re.compile(r"[A-Za-z0-9_.\-/]{1,100}", re.ASCII)


@dataclass(frozen=True)
class MooncakeAddress:
    host: str
    port: int
    admin_port: int
    """Where the master speaks HTTP: it alone knows what there is."""
    namespace: str

    @classmethod
    def of(cls, url: str) -> MooncakeAddress:
        """Raises InvalidRequest when the URL is not of the form that the message gives."""
        try:
            parts = urlsplit(url)
            options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
            admin_port, namespace = int(options.pop("admin_port", "9003")), options.pop("namespace", "kvstore")
            if parts.scheme != "mooncake" or not parts.hostname or "@" in parts.netloc or options:
                raise ValueError
            if parts.path.strip("/") or parts.fragment or not _NAMESPACE.fullmatch(namespace):
                raise ValueError
            return cls(parts.hostname, parts.port or 50051, admin_port, namespace)
        except ValueError:
            raise InvalidRequest(f"the address of the Mooncake master is none; expected is {_FORM}") from None

    @property
    def shown(self) -> str:
        return f"mooncake://{self._host}:{self.port}?namespace={self.namespace}"

    @property
    def master(self) -> str:
        return f"{self._host}:{self.port}"

    @property
    def keys_url(self) -> str:
        """Where the master lists all keys."""
        return f"http://{self._host}:{self.admin_port}/get_all_keys"

    @property
    def _host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host
