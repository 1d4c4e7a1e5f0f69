"""Connection: HTTP to one sidecar. Its problems become our errors, and no body is used that fails its checksum."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import aiohttp
import numpy as np
import xxhash
from aiohttp.abc import AbstractStreamWriter
from pydantic import BaseModel

from kvstore import CorruptFrame, InvalidRequest, KVCacheError, TierUnavailable
from kvstore.tier import Frame

Answer = TypeVar("Answer", bound=BaseModel)
Room = Callable[[int], memoryview]
"""Gives a caller's buffer: that many bytes, to be written."""
Query = Mapping[str, str | float | bool | None]
MOST_BYTES = 4 << 30  # of one body
_PROBLEM = "application/problem+json"
_MOST_PROBLEM_BYTES, _MOST_JSON_BYTES = 1 << 16, 64 << 20
_READ_BYTES = 4 << 20  # that wait in memory before the sender is told to; half of that takes a fifth more CPU
_WRITE_BYTES = 1 << 20  # written at once
_SLOWEST_BYTES_PER_S = 16 << 20
_MAKES_NO_SENSE = {"invalid-request", "bad-range", "length-required", "method-not-allowed", "not-found"}


class TooLarge(InvalidRequest):
    """The body is longer than the service takes: send less at once."""


class OutOfService(InvalidRequest):
    """The frame was damaged: the message is what was found wrong with it."""


def new_room(num_bytes: int) -> memoryview:
    """A buffer of its own for each body, not written before it is filled."""
    return np.empty(num_bytes, np.uint8).data


class Connection:
    """To be used in one event loop. Connects when it is first asked, and again whenever it must."""

    def __init__(self, url: str, token: str = "", timeout_s: float = 2.0) -> None:
        """`url` is http://HOST:PORT, https://HOST:PORT or unix:PATH; `timeout_s` is for one call."""
        self.url, self._timeout_s = url.rstrip("/"), timeout_s
        self.socket = Path(url.removeprefix("unix:")) if url.startswith("unix:") else None
        self._headers = {"Accept-Encoding": "identity"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._base = self.url if self.socket is None else "http://localhost"
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def call(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        body: Parts | None = None,
        json: object = None,
        absent: Collection[str] = (),
        as_long_as_it_comes: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse | None]:
        """What is answered, its body to be read in the `with`; None for a problem whose code is one of `absent`.

        It ends in time, or, `as_long_as_it_comes`, when nothing comes for that long. Raises InvalidRequest,
        CorruptFrame or TierUnavailable, by what is to be done about it.
        """
        wait_s = self._timeout_s + (body.size or 0) / _SLOWEST_BYTES_PER_S if body else self._timeout_s
        total_s = None if as_long_as_it_comes else wait_s
        timeout = aiohttp.ClientTimeout(total_s, sock_connect=self._timeout_s, sock_read=wait_s)
        params = {name: _text(value) for name, value in (query or {}).items() if value is not None}
        try:
            async with self._opened().request(
                method,
                self._base + path,
                params=params,
                headers=headers,
                data=body,
                json=json,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                if response.status < 300:
                    yield response
                    return
                code, detail = await self._problem(response)
                if code not in absent:
                    raise self._error(code, detail)
                yield None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            if isinstance(error, KVCacheError):
                raise
            reason = "it took too long" if isinstance(error, TimeoutError) else _first_line(error)
            raise TierUnavailable(
                f"the sidecar at {self.url} cannot be asked ({reason}): is `kvstore serve` running there, and is that "
                "sidecar.url?"
            ) from error

    async def ask(
        self, answer: type[Answer], method: str, path: str, json: object = None, absent: Collection[str] = ()
    ) -> Answer | None:
        """A JSON answer of that shape; None and what is raised are as in `call`."""
        async with self.call(method, path, json=json, absent=absent) as response:
            return None if response is None else self.shaped(answer, await text_of(response))

    def shaped(self, answer: type[Answer], text: bytes) -> Answer:
        """JSON as the sidecar writes it. Raises TierUnavailable where somebody else answers."""
        with self.understood():
            return answer.model_validate_json(text)

    @contextmanager
    def understood(self) -> Iterator[None]:
        """A ValueError in the `with` is an answer that no sidecar gives."""
        try:
            yield
        except ValueError as error:
            raise TierUnavailable(f"{self.url} answers as no sidecar does: see sidecar.url") from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            path = self.socket
            connector = aiohttp.TCPConnector() if path is None else aiohttp.UnixConnector(str(path))
            self._session = aiohttp.ClientSession(
                connector=connector, headers=self._headers, auto_decompress=False, read_bufsize=_READ_BYTES
            )
        return self._session

    async def _problem(self, response: aiohttp.ClientResponse) -> tuple[str, str]:
        """The code and the detail. Raises TierUnavailable where it is none of a sidecar's."""
        text = await response.content.read(_MOST_PROBLEM_BYTES)
        if response.content_type != _PROBLEM:
            raise TierUnavailable(f"{self.url} answers {response.status}, as no sidecar does: see sidecar.url")
        problem = self.shaped(_Problem, text)
        return problem.code, problem.detail

    def _error(self, code: str, detail: str) -> KVCacheError:
        if code in ("corrupt-frame", "checksum-mismatch"):
            return CorruptFrame(f"the sidecar at {self.url} did not take it: {detail}")
        if code == "too-large":
            return TooLarge(f"the sidecar at {self.url} did not take it: {detail} (see sidecar.max_frame_bytes there)")
        if code == "out-of-service":
            return OutOfService(detail)
        if code in ("unauthorized", "forbidden"):
            return InvalidRequest(
                f"the sidecar at {self.url} refuses: {detail}. Set sidecar.token to the token that it has for the "
                "tenant store.tenant; what is of all tenants takes the admin's"
            )
        if code in _MAKES_NO_SENSE:
            return InvalidRequest(f"the sidecar at {self.url} refuses: {detail}")
        return TierUnavailable(f"the sidecar at {self.url} cannot do that now ({code}): {detail}")

    async def close(self) -> None:
        """Safe to repeat."""
        if self._session is not None:
            await self._session.close()


class _Problem(BaseModel):
    code: str
    detail: str


class Parts(aiohttp.Payload):
    """A body that lies in several places: sent from there, in pieces, so that others have their turn."""

    def __init__(self, parts: Sequence[Frame], content_type: str = "application/octet-stream") -> None:
        super().__init__(parts, content_type=content_type)
        self._parts = [memoryview(part).cast("B") for part in parts]
        self._size = sum(len(part) for part in self._parts)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return b"".join(self._parts).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        for part in self._parts:
            for start in range(0, len(part), _WRITE_BYTES):
                await writer.write(part[start : start + _WRITE_BYTES])


async def text_of(response: aiohttp.ClientResponse) -> bytes:
    """A short body. Raises TierUnavailable where it is none."""
    text = bytearray()
    while piece := await response.content.readany():
        text += piece
        if len(text) > _MOST_JSON_BYTES:
            raise TierUnavailable(f"{response.url} answers more than {_MOST_JSON_BYTES} bytes of JSON")
    return bytes(text)


async def checked_body(response: aiohttp.ClientResponse, room: Room) -> memoryview:
    """The body, read-only, where `room` has it. Raises CorruptFrame unless it is what its length and checksum say."""
    num_bytes, checksum = response.content_length, response.headers.get("Kvstore-Xxh3", "")
    if num_bytes is None or num_bytes > MOST_BYTES:
        raise CorruptFrame(f"a body of {num_bytes} bytes came; of a known length, up to {MOST_BYTES}, it is taken")
    body, filled = room(num_bytes), 0
    while piece := await response.content.readany():
        end = filled + len(piece)
        if end > num_bytes:
            raise CorruptFrame(f"the body is longer than the {num_bytes} bytes that were announced")
        body[filled:end] = piece
        filled = end
    if filled < num_bytes:
        raise CorruptFrame(f"{filled} bytes came of {num_bytes}")
    if xxhash.xxh3_128_hexdigest(body) != checksum:
        raise CorruptFrame(f"the {num_bytes} bytes that came are not what their checksum says")
    return body.toreadonly()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _text(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
