"""A sidecar for tests: the real server, in a thread with its own event loop, on a free port and a Unix socket."""

import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from connectors.sidecar.callers import Tokens
from connectors.sidecar.context import Context
from connectors.sidecar.limits import Bodies, Rates
from connectors.sidecar.server import Address, Server, listen
from connectors.sidecar.service import Service, require_frame
from kvstore import Metrics

_START_S = 30.0


@dataclass(frozen=True)
class Served:
    """Where it listens, and what it serves."""

    url: str
    socket: Path
    context: Context
    server: Server


def any_bytes(key, frame):
    """A `check` that lets everything be stored, for tests of tiers, whose frames are none."""


@contextmanager
def serving(
    tiers,
    metrics=None,
    tokens=None,
    check=require_frame,
    requests_per_s=0.0,
    most_bytes=256 << 20,
    all_bytes=1 << 30,
    port=0,
    **of_context,
):
    """Serves `tiers` (a `Tiers`, the caller's to close) until the `with` is left; `of_context` are fields of Context.

    `tokens` are a `Tokens`; without them everybody is admin.
    """
    service = Service(tiers, metrics or Metrics(), check)
    context = Context(service, tokens or Tokens(), Rates(requests_per_s), Bodies(most_bytes, all_bytes), **of_context)
    with tempfile.TemporaryDirectory(prefix="kvstore-") as directory:
        address = Address(port=port, socket=Path(directory) / "sidecar.sock")
        sockets, server = listen(address, bool(context.tokens)), Server(context)
        port = sockets[0].getsockname()[1]
        thread = threading.Thread(target=server.run, args=[sockets], name="sidecar", daemon=True)
        thread.start()
        try:
            _until_started(server, thread)
            yield Served(f"http://127.0.0.1:{port}", address.socket, context, server)
        finally:
            server.should_exit = True
            thread.join()
            service.close()


def _until_started(server, thread):
    ends_s = time.monotonic() + _START_S
    while not server.started:
        assert thread.is_alive(), "the server ended before it started"
        assert time.monotonic() < ends_s, "the server did not start in time"
        time.sleep(0.005)
