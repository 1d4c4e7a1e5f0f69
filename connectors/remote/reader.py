"""Reader: values out of a store, checked when they come. What is wrong is a miss, counted, and deleted there."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile

from connectors.remote.replicated import Replicated
from connectors.remote.store import Buffer
from connectors.remote.value import HEADER_BYTES, Value, begun, key_of, whole
from kvstore import CorruptFrame, Metrics, TierUnavailable

_log = logging.getLogger(__name__)
_PAGE = 256  # headers of a listing that are asked for at once
_REMEMBERED = 1 << 14  # values that were wrong


@dataclass(frozen=True)
class Rejected:
    """Why a value was, and when in Unix seconds."""

    reason: str
    at_s: float


class Reader:
    """Of one event loop. Everything raises TierUnavailable where the store, and its replica, are."""

    def __init__(self, stores: Replicated, metrics: Metrics, deletes: bool = True) -> None:
        """Unless it `deletes`, what is wrong stays where it is."""
        self._stores, self._metrics, self._deletes = stores, metrics, deletes
        self.rejected: OrderedDict[str, Rejected] = OrderedDict()
        """The values that were wrong lately, by name, until one comes that is whole."""
        self._removing = set[asyncio.Task[None]]()

    async def sizes(self, names: Sequence[str], patience_s: float) -> list[int]:
        """Of the leading values that are there."""
        sizes = await self._stores.ask(lambda store: store.sizes(names), patience_s)
        return list(takewhile(lambda size: size > HEADER_BYTES, sizes))

    async def get(self, name: str, num_bytes: int | None, patience_s: float) -> Value | None:
        """A value, of that size where it is known; None when it is not there, or not right."""
        if num_bytes is None:
            num_bytes = next(iter(await self.sizes([name], patience_s)), None)
        found = None if num_bytes is None else await self._stores.get(name, num_bytes, patience_s)
        return None if found is None else self._checked(name, found, whole)

    async def begun(self, names: Sequence[str], num_bytes: int, patience_s: float) -> list[Value | None]:
        """The first `num_bytes` of each content; None for those that are not there, or not right."""
        most = HEADER_BYTES + num_bytes
        found = await self._stores.ask(lambda store: store.peek(names, most), patience_s)
        return [
            None if each is None else self._checked(name, each, begun) for name, each in zip(names, found, strict=True)
        ]

    async def listed(self, start: str) -> AsyncIterator[Value]:
        """The header of every value whose name begins so."""
        page: list[str] = []
        async for listed in self._stores.first.store.listed(start):
            if key_of(listed.key) is not None:
                page.append(listed.key)
            if len(page) == _PAGE:
                for value in await self._headers(page):
                    yield value
                page = []
        for value in await self._headers(page):
            yield value

    async def _headers(self, names: Sequence[str]) -> list[Value]:
        found = await self._stores.first.store.peek(names, HEADER_BYTES)
        checked = (each and self._checked(name, each, begun) for name, each in zip(names, found, strict=True))
        return [value for value in checked if value]

    def _checked(self, name: str, found: Buffer, check: Callable[[Buffer, str], Value]) -> Value | None:
        try:
            value = check(found, name)
        except CorruptFrame as error:
            self._reject(name, error)
        else:
            if check is whole:
                self.rejected.pop(name, None)
            if not value.has_expired:
                return value
        if self._deletes:
            removing = asyncio.create_task(self._remove(name))
            self._removing.add(removing)
            removing.add_done_callback(self._removing.discard)
        return None

    def _reject(self, name: str, error: CorruptFrame) -> None:
        self._metrics.count("remote_rejected")
        self.rejected[name] = Rejected(str(error), time.time())
        if len(self.rejected) > _REMEMBERED:
            self.rejected.popitem(last=False)
        outcome = "is deleted there" if self._deletes else "is of no use"
        _log.warning("%s of %s %s: %s", name, self._stores.first.store.url, outcome, error)

    @property
    def is_deleting(self) -> bool:
        return bool(self._removing)

    async def settle(self) -> None:
        """Waits until what is being deleted is."""
        await asyncio.gather(*self._removing)

    async def _remove(self, name: str) -> None:
        with suppress(TierUnavailable):
            await self._stores.first.read(lambda store: store.delete([name]))
