"""LMCache's server in a process, where LMCache is installed, and how vLLM is told of it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

_START_S = 60.0


class LMCacheServer(AbstractContextManager["LMCacheServer"]):
    """In multi-process mode, with chunks of the engine's block, a tier in memory and one of files in a directory."""

    def __init__(self, directory: Path, log: Path, chunk_tokens: int) -> None:
        """Raises TimeoutError when it does not answer."""
        directory.mkdir(parents=True, exist_ok=True)
        self._port, http_port = _free_port(), _free_port()
        files = {"type": "fs", "base_path": str(directory)}
        command = ["lmcache", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--http-host", "127.0.0.1", "--http-port", str(http_port), "--chunk-size", str(chunk_tokens)]
        command += ["--l1-size-gb", "4", "--l1-init-size-gb", "1", "--eviction-policy", "LRU"]
        command += ["--supported-transfer-mode", "auto", "--shm-name", f"kvstore-bench-{self._port}"]
        with log.open("a") as output:
            self._process = subprocess.Popen(
                [*command, "--l2-adapter", json.dumps(files)], stdout=output, stderr=output
            )
        self._wait()

    @staticmethod
    def installed() -> bool:
        return shutil.which("lmcache") is not None

    @property
    def connector(self) -> dict[str, Any]:
        """vLLM's kv_transfer_config."""
        extra = {"lmcache.mp.host": "tcp://127.0.0.1", "lmcache.mp.port": self._port}
        return {"kv_connector": "LMCacheMPConnector", "kv_role": "kv_both", "kv_connector_extra_config": extra}

    def _wait(self) -> None:
        until_s = time.monotonic() + _START_S
        while time.monotonic() < until_s and self._process.poll() is None:
            with socket.socket() as knocking:
                if knocking.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.2)
        self._process.kill()
        raise TimeoutError("lmcache server does not answer; its log says why")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
