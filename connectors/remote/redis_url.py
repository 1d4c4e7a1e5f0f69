"""RedisAddress: what a redis:// URL says, and the client that it asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import hiredis  # noqa: F401  without it redis-py parses in Python, several times slower
from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from connectors.remote.redis_parts import PartsConnection, PartsSSLConnection
from connectors.remote.url_parts import bracketed, options_of, taken_namespace
from kvstore import InvalidRequest

_FORM = "redis://[USER:PASSWORD@]HOST[:PORT][/DB][?namespace=NAME]; rediss:// for TLS, redis+cluster:// for a cluster"
_TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")
_READ_BYTES = 256 << 10  # from a socket at once: a value of a megabyte takes few turns of the loop


@dataclass(frozen=True)
class RedisAddress:
    host: str
    port: int
    db: int
    username: str | None
    password: str | None = field(repr=False)
    cluster: bool
    tls: bool
    tls_options: dict[str, str]
    namespace: str

    @classmethod
    def of(cls, url: str) -> RedisAddress:
        """Raises InvalidRequest when the URL is not of the form that the message gives; it never repeats it."""
        try:
            parts = urlsplit(url)
            options = options_of(parts)
            namespace = taken_namespace(options)
            scheme, plus, kind = parts.scheme.partition("+")
            db = int(parts.path.strip("/") or 0)
            if (
                scheme not in ("redis", "rediss")
                or (plus and kind != "cluster")
                or not parts.hostname
                or parts.fragment
            ):
                raise ValueError
            if set(options) - set(_TLS if scheme == "rediss" else ()) or db < 0 or (kind and db):
                raise ValueError
            username, password = (unquote(part) if part else None for part in (parts.username, parts.password))
            port = parts.port or 6379
        except ValueError:
            raise InvalidRequest(f"the address of the Redis server is none; expected is {_FORM}") from None
        return cls(parts.hostname, port, db, username, password, bool(kind), scheme == "rediss", options, namespace)

    @property
    def shown(self) -> str:
        """The URL without whatever is secret."""
        scheme = ("rediss" if self.tls else "redis") + ("+cluster" if self.cluster else "")
        db = f"/{self.db}" if self.db else ""
        return f"{scheme}://{bracketed(self.host)}:{self.port}{db}?namespace={self.namespace}"

    def client(self, timeout_s: float, connections: int) -> Any:
        """Of redis-py, not yet connected, which tries nothing twice, and waits for answers as long as it is let.

        Unless it is a cluster's, it takes `Parts`.
        """
        options: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "username": self.username,
            "password": self.password,
            "socket_timeout": None,  # its timer for each write and each read takes longer than one for the call
            "socket_connect_timeout": timeout_s,
            "socket_read_size": _READ_BYTES,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "max_connections": connections,
            **self.tls_options,
        }
        if self.cluster:
            return RedisCluster(**options, ssl=self.tls, require_full_coverage=False)
        connection = PartsSSLConnection if self.tls else PartsConnection
        return Redis.from_pool(ConnectionPool(connection, **options, db=self.db))
