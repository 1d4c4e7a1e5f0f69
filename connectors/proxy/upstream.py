"""Upstream: the OpenAI-style server that computes what is not held. Its address comes from the settings alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import aiohttp

from connectors.sidecar.problems import Problem

_CONNECT_S = 10.0
_IDLE_S = 4.0  # uvicorn, and with it vLLM, closes what is idle for 5
_MOST_HEAD_BYTES = 64 << 10


class Interrupted(Exception):
    """The upstream's answer ended before its end, or did not go on."""


class Upstream:
    """One server, over connections that are kept. Of one event loop."""

    def __init__(self, url: str, key: str = "", timeout_s: float = 600.0) -> None:
        """`url` is what an OpenAI client takes as its base, such as http://127.0.0.1:8000/v1; `key` is sent to it
        unless the caller's is. For `timeout_s` it may say nothing.
        """
        self._url, self._key, self._timeout_s = url.rstrip("/"), key, timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """Its answer, as soon as it begins; close it after use. Raises Problem where there is none."""
        sent = dict(headers)
        if self._key:
            sent.setdefault("authorization", f"Bearer {self._key}")
        with _named():
            response = await self._opened().request(
                method, self._url + path, data=body, headers=sent, allow_redirects=False
            )
        if 300 <= response.status < 400 and response.status != 304:
            response.close()
            raise Problem("upstream-failed", "the upstream is elsewhere: set proxy.upstream to where it redirects to")
        return response

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_S),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=self._timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Content-Type"),
                max_line_size=_MOST_HEAD_BYTES,
                max_field_size=_MOST_HEAD_BYTES,
            )
        return self._session


@contextmanager
def _named() -> Iterator[None]:
    """Problems for what may happen before an answer begins. They do not say where the upstream is."""
    try:
        yield
    except TimeoutError as error:
        raise Problem("upstream-timeout", "the upstream did not answer in time") from error
    except aiohttp.ClientConnectorError as error:
        reason = os.strerror(error.os_error.errno) if error.os_error.errno else "no address"
        raise Problem("upstream-failed", f"the upstream cannot be reached ({reason}): is it running?") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Problem("upstream-failed", "the upstream ended the connection, or its answer is no HTTP") from error


@contextmanager
def interrupted() -> Iterator[None]:
    """Raises Interrupted for what may happen while an answer comes."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Interrupted(type(error).__name__) from error
