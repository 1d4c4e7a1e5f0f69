"""A true Mooncake Store on this host: its master, and a process that lends it memory."""

import importlib.util
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.connectors.remote.redis_servers import free_ports, hang

_LENDS = """
import sys
from mooncake.store import MooncakeDistributedStore
lender = MooncakeDistributedStore()
print(lender.setup("127.0.0.1", "P2PHANDSHAKE", int(sys.argv[2]), 16 << 20, "tcp", "", sys.argv[1]), flush=True)
sys.stdin.read()
"""


@dataclass
class Mooncake:
    master: subprocess.Popen
    lender: subprocess.Popen
    port: int
    admin_port: int

    def url(self, namespace="kvstore"):
        return f"mooncake://127.0.0.1:{self.port}?namespace={namespace}&admin_port={self.admin_port}"

    def hang(self):
        hang(self.lender)

    def go_on(self):
        self.lender.send_signal(signal.SIGCONT)


def require_mooncake():
    if importlib.util.find_spec("mooncake") is None:
        pytest.skip("Mooncake's client is not installed (the extra mooncake)")
    try:
        import mooncake.store  # noqa: F401
    except ImportError as error:
        pytest.skip(f"Mooncake's client does not load here: {error}")


@contextmanager
def mooncake(path, capacity_bytes=256 << 20):
    """Answers when it is entered."""
    require_mooncake()
    port, admin_port = free_ports(2)
    options = {"rpc_address": "127.0.0.1", "rpc_port": port, "metrics_host": "127.0.0.1", "metrics_port": admin_port}
    options |= {"client_ttl": 2}
    with ExitStack() as opened:
        log = opened.enter_context((path / "log").open("wb"))
        program = shutil.which("mooncake_master", path=str(Path(sys.executable).parent))
        command = [program, *(f"--{name}={value}" for name, value in options.items())]
        master = opened.enter_context(subprocess.Popen(command, stdout=log, stderr=log))
        opened.callback(master.kill)
        command = [sys.executable, "-c", _LENDS, f"127.0.0.1:{port}", str(capacity_bytes)]
        lender = opened.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        )
        opened.callback(lender.kill)  # one that is stopped as well
        assert lender.stdout.readline() == "0\n"
        yield Mooncake(master, lender, port, admin_port)
