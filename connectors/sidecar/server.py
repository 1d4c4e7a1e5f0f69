"""Server: uvicorn over an address and a Unix socket, until it is told to end; then what is under way is finished."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from connectors.sidecar.app import create_app
from connectors.sidecar.connection import Connection
from connectors.sidecar.context import Context
from connectors.sidecar.loopback import is_loopback
from kvstore import InvalidRequest

_BACKLOG = 2048
_DRAIN_S = 20.0
_CLOSE_S = 5  # for what was answered to reach who asked


@dataclass(frozen=True)
class Address:
    """Where to listen: `port` 0 is one that is free; no host, or no socket, leaves that out."""

    host: str = "127.0.0.1"
    port: int = 0
    socket: Path | None = None


class Server(uvicorn.Server):
    """Serves a context. Says that it drains as soon as it is told to end."""

    def __init__(self, context: Context, started: Callable[[], object] = lambda: None) -> None:
        """`started` is called when requests are answered, and signals heeded."""
        self._context, self.app, self._started = context, create_app(context), started
        config = uvicorn.Config(
            self.app,
            http=Connection,  # type: ignore[arg-type]  # buffered
            loop="uvloop",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=_CLOSE_S,
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started()

    def handle_exit(self, sig: int, frame: object) -> None:
        self._context.draining = True
        super().handle_exit(sig, frame)  # type: ignore[arg-type]
        self._captured_signals.clear()  # raised once more afterwards, they would end the process with frames unwritten

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Has what is under way finish, while new requests are sent elsewhere; then nobody is listened to."""
        self._context.draining = True
        ends_s = time.monotonic() + _DRAIN_S
        while self._context.under_way and time.monotonic() < ends_s and not self.force_exit:
            await asyncio.sleep(0.02)
        for listening in sockets or []:
            if listening.family == socket.AF_UNIX:
                Path(listening.getsockname()).unlink(
                    missing_ok=True
                )  # while it is ours: the next one may be there soon
        await super().shutdown(sockets)
        if self._context.front is not None:
            await self._context.front.close()


def listen(address: Address, has_tokens: bool) -> list[socket.socket]:
    """The sockets, bound. Raises InvalidRequest where an address is not to be had, or open to others without tokens."""
    _raise_file_limit()
    sockets = []
    if address.host:
        if not has_tokens and not is_loopback(address.host):
            raise InvalidRequest(
                f"sidecar.host is {address.host}, which other machines reach, and no token is set: set "
                "sidecar.admin_token or [tokens], or listen on 127.0.0.1"
            )
        sockets.append(_bound(address))
    if address.socket is not None:
        sockets.append(_bound_at(address.socket))
    if not sockets:
        raise InvalidRequest("there is nowhere to listen: set sidecar.host or sidecar.socket")
    return sockets


def _bound(address: Address) -> socket.socket:
    try:
        family, _, _, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
    except OSError as error:
        raise InvalidRequest(f"{address.host}:{address.port} cannot be listened on: {error.strerror}") from error
    listening.listen(_BACKLOG)
    return listening


def _bound_at(path: Path) -> socket.socket:
    """Of this user alone. What a service that was killed left there is removed; one that lives is not disturbed."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            _require_dead(path)
            path.unlink()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        before = os.umask(0o177)
        try:
            listening.bind(str(path))
        finally:
            os.umask(before)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise InvalidRequest(f"sidecar.socket {path} cannot be listened on: {error.strerror or error}") from error
    return listening


def _require_dead(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return
    raise InvalidRequest(f"another service listens on {path}: stop it, or set sidecar.socket")


def _raise_file_limit() -> None:
    """A connection is a file: as many as may be."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
