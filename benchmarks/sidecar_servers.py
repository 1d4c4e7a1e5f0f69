"""The servers that are held beside each other: ours as a user starts it, nginx, Redis, and one that does nothing.

Each is a process of its own that listens on loopback and on a Unix socket, and ends with its `with`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_START_S, _END_S = 60.0, 30.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

Address = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""


class ServerProcess(ABC):
    """One server. Raises RuntimeError, with the end of what it said, when it does not come up."""

    name: str

    def __init__(self, directory: Path) -> None:
        """What it needs to lie somewhere lies in `directory`."""
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.unix = directory, str(directory / "socket")
        self.tcp = "127.0.0.1", free_port()

    @abstractmethod
    def command(self) -> list[str]:
        """What starts it, in the foreground."""

    def environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith("KVSTORE_")}

    def addresses(self) -> dict[str, Address]:
        return {"tcp": self.tcp, "unix": self.unix}

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log, env=self.environment())
        until_s = time.monotonic() + _START_S
        while not all(_answers(address) for address in self.addresses().values()):
            if self._process.poll() is not None or time.monotonic() > until_s:
                self._end(signal.SIGKILL)
                raise RuntimeError(f"{self.name} did not come up: {self.said()[-500:]}")
            time.sleep(0.05)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end(signal.SIGTERM)

    def send(self, how: signal.Signals) -> None:
        """Has it stopped, go on, or killed."""
        self._process.send_signal(how)

    def _end(self, how: signal.Signals) -> None:
        self._process.send_signal(how)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def _log(self) -> Path:
        return self.directory / "said.log"

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def cpu_s(self) -> float:
        """Of processor time that it has taken until now, in all its threads."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    def resident_bytes(self) -> int:
        """Of memory that it has now."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s*(\d+) kB", status)
        return int(found[1]) << 10 if found else 0


class Sidecar(ServerProcess):
    """`kvstore serve` over a memory tier and a disk tier."""

    name = "sidecar"

    def __init__(self, directory: Path, memory_bytes: int, disk_bytes: int) -> None:
        """Its store, which may be there already, is in `directory`/store; 0 bytes leave a tier out."""
        super().__init__(directory)
        self.name = "sidecar" if disk_bytes else "sidecar in memory"
        self._memory_bytes, self._disk_bytes = memory_bytes, disk_bytes

    def command(self) -> list[str]:
        where = ["--host", self.tcp[0], "--port", str(self.tcp[1]), "--socket", self.unix]
        serve = [str(Path(sys.executable).with_name("kvstore")), "serve"]
        return [*serve, *where, "--store", str(self.directory / "store")]

    def environment(self) -> dict[str, str]:
        budgets = {
            "KVSTORE_MEMORY_CAPACITY_BYTES": str(self._memory_bytes),
            "KVSTORE_DISK_CAPACITY_BYTES": str(self._disk_bytes),
        }
        return {**super().environment(), **budgets}


class Nginx(ServerProcess):
    """One worker that serves a directory of files by sendfile, keeps them open and logs nothing."""

    name = "nginx"

    def __init__(self, directory: Path, files: Path) -> None:
        super().__init__(directory)
        self._files = files

    @staticmethod
    def installed() -> bool:
        return _program("nginx") is not None

    def command(self) -> list[str]:
        configuration = self.directory / "nginx.conf"
        configuration.write_text(self._configuration())
        return [str(_program("nginx")), "-p", str(self.directory), "-c", str(configuration), "-e", "stderr"]

    def _configuration(self) -> str:
        host, port = self.tcp
        user = "user root;" if os.getuid() == 0 else ""
        paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        temporary = "\n".join(f"    {name}_temp_path {self.directory / name};" for name in paths)
        return f"""\
{user}
daemon off;
master_process off;
pid {self.directory / "pid"};
events {{ worker_connections 1024; }}
http {{
{temporary}
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    open_file_cache max=10000 inactive=1h;
    open_file_cache_valid 1h;
    default_type application/octet-stream;
    server {{
        listen {host}:{port};
        listen unix:{self.unix};
        root {self._files};
    }}
}}
"""


class Redis(ServerProcess):
    """Values in memory and nowhere else."""

    name = "Redis"

    @staticmethod
    def installed() -> bool:
        return _program("redis-server") is not None

    def command(self) -> list[str]:
        where = ["--bind", self.tcp[0], "--port", str(self.tcp[1]), "--unixsocket", self.unix]
        return [str(_program("redis-server")), *where, "--save", "", "--appendonly", "no", "--dir", str(self.directory)]


class Nothing(ServerProcess):
    """What every client costs by itself: `benchmarks.byte_server`."""

    name = "nothing"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "benchmarks.byte_server", str(self.tcp[1]), self.unix]


def _program(name: str) -> str | None:
    """Where it is: what serves may lie where only root looks."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _answers(address: Address) -> bool:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as knocking, suppress(OSError):
        knocking.connect(address)
        return True
    return False


def free_port() -> int:
    """Of this host, free a moment ago."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
