"""Reporter: tells the sidecar what an engine's store has counted, on a thread of its own that nobody waits for."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import socket
import threading

from connectors.client import SidecarClient
from kvstore import Metrics

_log = logging.getLogger(__name__)
_EVERY_S, _LAST_S = 5.0, 2.0
_LONGEST_NAME = 200


class Reporter:
    """Posts what `metrics` have counted, as it stands, every few seconds and when it is closed.

    What fails is counted, and made up for by the next report: nobody is told, and nothing waits for it, but `close`,
    for two seconds.
    """

    def __init__(
        self, url: str, token: str, timeout_s: float, metrics: Metrics, model: str, every_s: float = _EVERY_S
    ) -> None:
        """The first three as `SidecarClient`. `model` is what the engine runs."""
        self._url, self._token, self._timeout_s = url, token, timeout_s
        self._metrics, self._every_s = metrics, every_s
        self._engine, self._model = _engine_name(), model[-_LONGEST_NAME:] or "unknown"
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kvstore-reports", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Reports once more, then ends the thread. Safe to repeat."""
        self._closed.set()
        self._thread.join(_LAST_S)

    def _run(self) -> None:
        while not self._closed.wait(self._every_s):
            self._report()
        self._report()

    def _report(self) -> None:
        try:
            asyncio.run(self._post())
        except Exception as error:  # whatever it is, the next report says it all
            self._metrics.count("reports_failed")
            _log.debug("a report did not reach the sidecar: %s", error)

    async def _post(self) -> None:
        """Over a connection of its own: a kept one would be idle, or gone, most of the time."""
        report = {"engine": self._engine, "model": self._model, "counts": self._metrics.snapshot()}
        async with SidecarClient(self._url, self._token, self._timeout_s) as client:
            await client.json("POST", "/v1/reports", report)


def _engine_name() -> str:
    """Of this process's store: where it runs, and what no other has."""
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:60]
    return f"{host}-{os.getpid()}-{secrets.token_hex(4)}"
