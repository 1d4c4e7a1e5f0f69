"""MooncakeAddress: what a mooncake:// URL says."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from connectors.remote.url_parts import bracketed, options_of, taken_namespace
from kvstore import InvalidRequest

_FORM = "mooncake://HOST[:PORT][?namespace=NAME&admin_port=PORT], of mooncake_master"


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
            options = options_of(parts)
            admin_port, namespace = int(options.pop("admin_port", "9003")), taken_namespace(options)
            if parts.scheme != "mooncake" or not parts.hostname or "@" in parts.netloc or options:
                raise ValueError
            if parts.path.strip("/") or parts.fragment:
                raise ValueError
            return cls(parts.hostname, parts.port or 50051, admin_port, namespace)
        except ValueError:
            raise InvalidRequest(f"the address of the Mooncake master is none; expected is {_FORM}") from None

    @property
    def shown(self) -> str:
        return f"mooncake://{self.master}?namespace={self.namespace}"

    @property
    def master(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def keys_url(self) -> str:
        """Where the master lists all keys."""
        return f"http://{bracketed(self.host)}:{self.admin_port}/get_all_keys"
