"""Connections of redis-py that send a value in parts as it lies, which else would be laid together first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio.connection import Connection, SSLConnection

from connectors.remote.store import Buffer


@dataclass(frozen=True)
class Parts:
    """One argument of a command."""

    parts: Sequence[Buffer]


class _Packing:
    encoder: Any

    def pack_command(self, *args: Any) -> list[Any]:
        """As redis-py does it, and `Parts` too: https://redis.io/docs/latest/develop/reference/protocol-spec."""
        if not any(isinstance(arg, Parts) for arg in args):
            packed: list[Any] = super().pack_command(*args)  # type: ignore[misc]
            return packed
        packed = [b"*%d\r\n" % len(args)]
        for arg in args:
            parts = arg.parts if isinstance(arg, Parts) else [self.encoder.encode(arg)]
            packed += [b"$%d\r\n" % sum(map(len, parts)), *parts, b"\r\n"]
        return packed


class PartsConnection(_Packing, Connection):
    """In clear."""


class PartsSSLConnection(_Packing, SSLConnection):
    """Through TLS."""
