"""`kvstore serve`: the sidecar, one HTTP service over the store."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from connectors.cli.options import StoreOption
from connectors.settings import load_settings
from connectors.sidecar.logs import LogStyle, configure


def serve(
    host: Annotated[
        str | None, typer.Option(metavar="HOST", help='Where to listen; "" on the Unix socket alone.')
    ] = None,
    port: Annotated[int | None, typer.Option(metavar="PORT", min=0, max=65535, help="0 is one that is free.")] = None,
    unix: Annotated[Path | None, typer.Option("--socket", metavar="PATH", help="The Unix socket.")] = None,
    store: StoreOption = None,
    log: Annotated[
        LogStyle | None, typer.Option(help="Lines for people, or of JSON. [default: text to a terminal, else json]")
    ] = None,
) -> None:
    """Serve the store to engines and people, over HTTP, on this host unless told otherwise.

    Engines with `sidecar.url` in their settings keep their frames here: over the Unix socket they read them where
    they lie, over the network they get their bytes. The page at / shows what is held and what happens.

    Other machines are let in with a token only: sidecar.admin_token (KVSTORE_SIDECAR_ADMIN_TOKEN) for everything,
    and one for each tenant in [tokens]. SIGTERM ends the service when what is under way is done.

    Traces go to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names, if any: pip install 'kvstore[otel]'.

    Example: KVSTORE_SIDECAR_ADMIN_TOKEN=$(openssl rand -hex 16) kvstore serve --host 0.0.0.0
    """
    from connectors.sidecar.allocator import serve_from_memory  # what serves takes a second to import
    from connectors.sidecar.opening import open_context
    from connectors.sidecar.server import Address, Server, listen
    from connectors.sidecar.traces import traced

    given = {"sidecar.host": host, "sidecar.port": port, "sidecar.socket": unix, "store.path": store}
    overrides = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    settings = load_settings(overrides={name: value for name, value in overrides.items() if value is not None})
    sidecar = settings.sidecar
    configure(log)
    serve_from_memory()
    with open_context(settings) as context:
        sockets = listen(Address(sidecar.host, sidecar.port, sidecar.socket), bool(context.tokens))
        server = Server(context, lambda: _announce(settings.store.path, sockets))
        with traced(server.app):
            server.run(sockets)


def _announce(store: Path, sockets: Sequence[socket.socket]) -> None:
    for listening in sockets:
        typer.echo(f"kvstore serves {store} at {_name(listening)}")


def _name(listening: socket.socket) -> str:
    where = listening.getsockname()
    if isinstance(where, str):
        return f"unix:{where}"
    host, port = where[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
