"""S3Store: values as objects of S3, or of what speaks as it does, through obstore."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import suppress
from itertools import takewhile
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from obstore.exceptions import AlreadyExistsError, BaseError

from connectors.remote.s3_url import S3Address
from connectors.remote.store import Buffer, Caps, Health, Listed, RemoteStore
from kvstore import TierUnavailable
from kvstore.grouping import groups

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult

T = TypeVar("T")
_AT_ONCE = 128  # requests of one call, each on a connection of its own
_PART_BYTES = 8 << 20  # of a larger value several parts are on their way at once
_UPLOADS = "_uploads/"  # no key begins so: a value lies here until all its parts do
_NOBODY = "_nobody"  # nothing is ever stored here
_ONE_BYTE: GetOptions = {"range": (0, 1)}
_NO_BYTES: GetOptions = {"head": True}
_REASONS = [re.compile(each) for each in (r"<Code>(\w+)</Code>", r"status code: (\d+)", r"kind: (\w+)")]


class _NotThere(TierUnavailable):
    """The server says that there is no such object, or that it ends before the part that was asked for."""


class S3Store(RemoteStore):
    """A value is the object of its key's name, under the URL's prefix.

    How long it stays is up to the lifecycle rules of the bucket: whether its time is up, whoever reads it sees.
    """

    caps = Caps(max_value_bytes=5 << 30, expires=False, evicts=False)

    def __init__(self, address: S3Address, timeout_s: float) -> None:
        self.url = address.shown
        self._bucket = address.client(timeout_s)

    async def sizes(self, keys: Sequence[str]) -> list[int]:
        """S3 has no question for many names: each is asked for by a request of its own, all at once, 128 at a time.

        The first of them reads a byte: a bucket that is gone says so only where an answer has a body.
        """
        sizes = list[int]()
        for some in groups(keys, lambda _: 1, _AT_ONCE):
            asked = [_ONE_BYTE, *[_NO_BYTES] * (len(some) - 1)]
            leading = list(takewhile(bool, await asyncio.gather(*map(self._size, some, asked))))
            sizes += leading
            if len(leading) < len(some):
                break
        return sizes

    async def _size(self, key: str, asked: GetOptions) -> int:
        found = await self._found(key, asked)
        if found is None:
            return 0
        await self._asked(found.bytes_async())  # which leaves the connection to others
        return found.meta["size"]

    async def get_into(self, key: str, buffer: memoryview) -> bool:
        starts = range(0, len(buffer), _PART_BYTES)
        return all(await asyncio.gather(*(self._read(key, buffer, start) for start in starts)))

    async def _read(self, key: str, buffer: memoryview, start: int) -> bool:
        end = min(start + _PART_BYTES, len(buffer))
        found = await self._found(key, {"range": (start, end)} if len(buffer) > _PART_BYTES else None)
        if found is None or found.meta["size"] != len(buffer):
            return False
        buffer[start:end] = memoryview(await self._asked(found.bytes_async()))
        return True

    async def peek(self, keys: Sequence[str], num_bytes: int) -> list[bytes | None]:
        first = list[bytes | None]()
        for some in groups(keys, lambda _: 1, _AT_ONCE):
            first += await asyncio.gather(*(self._first(key, num_bytes) for key in some))
        return first

    async def _first(self, key: str, num_bytes: int) -> bytes | None:
        found = await self._found(key, {"range": (0, num_bytes)})
        return None if found is None else bytes(await self._asked(found.bytes_async()))

    async def _found(self, key: str, asked: GetOptions | None) -> GetResult | None:
        try:
            return await self._asked(self._bucket.get_async(key, options=asked))
        except _NotThere:
            return None

    async def put(self, key: str, parts: Sequence[Buffer], ttl_s: float | None = None) -> bool:
        """On the condition that nothing is there, which the server sees to."""
        try:
            if sum(map(len, parts)) > _PART_BYTES:
                await self._put_in_parts(key, parts)
            else:
                await self._asked(self._bucket.put_async(key, parts, mode="create"))
        except FileExistsError:
            return False
        return True

    async def _put_in_parts(self, key: str, parts: Sequence[Buffer]) -> None:
        """Under a name of its own, from where the server copies it on the same condition."""
        upload = f"{_UPLOADS}{uuid4().hex}"
        try:
            await self._asked(self._bucket.put_async(upload, parts, use_multipart=True, chunk_size=_PART_BYTES))
            await self._asked(self._bucket.copy_async(upload, key, overwrite=False))
        finally:
            with suppress(TierUnavailable):  # what is left there, a rule of the bucket may remove
                await self.delete([upload])

    async def delete(self, keys: Sequence[str]) -> None:
        """A thousand in one request."""
        if keys:
            await self._asked(self._bucket.delete_async(keys))

    async def listed(self, start: str = "") -> AsyncIterator[Listed]:
        """A thousand in one answer."""
        pages = self._bucket.list(prefix=start.rpartition("/")[0] or None)
        while page := await self._asked(anext(pages, None)):
            for each in page:
                if each["path"].startswith(start) and not each["path"].startswith(_UPLOADS):
                    yield Listed(each["path"], each["size"])

    async def health(self) -> Health:
        await self._found(_NOBODY, None)
        return Health("S3")

    async def aclose(self) -> None:
        """Connections end with the client."""

    async def _asked(self, answer: Awaitable[T]) -> T:
        """Raises FileExistsError where the server says that, else TierUnavailable."""
        try:
            return await answer
        except AlreadyExistsError:
            raise FileExistsError from None
        except (BaseError, OSError) as error:
            reason = _reason(error)
            is_gone = isinstance(error, FileNotFoundError) and reason != "NoSuchBucket"
            kind = _NotThere if is_gone or reason == "InvalidRange" else TierUnavailable
            raise kind(f"{self.url}: {reason}") from None


def _reason(error: Exception) -> str:
    """In a word: servers repeat what they were sent, keys included, and what goes wrong is logged."""
    text = str(error)
    found = next(filter(None, (reason.search(text) for reason in _REASONS)), None)
    return type(error).__name__ if found is None else found[1]
