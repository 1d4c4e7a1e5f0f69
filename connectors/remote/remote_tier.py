"""RemoteTier: frames in a store on other machines, as a tier of this process."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import re
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any, ParamSpec, TypeVar

from connectors.loop_thread import LoopThread
from connectors.read_ahead import PromptOrder, Recent
from connectors.remote.endpoint import WRITING, Endpoint
from connectors.remote.patience import Patience, Prompts
from connectors.remote.reader import Reader, Rejected
from connectors.remote.replicated import Replicated
from connectors.remote.store import RemoteStore
from connectors.remote.value import FRAMES, HEADER_BYTES, PROFILES, Value, key_of, name_of, parts_of
from connectors.remote.write_queue import Write, WriteQueue
from kvstore import ChunkKey, Entry, InvalidRequest, Metrics, Terms, Tier, TierState, TierUnavailable
from kvstore.tier import NO_TERMS, Frame

P = ParamSpec("P")
T = TypeVar("T")
_log = logging.getLogger(__name__)
_Got = Future[Value | None]
_FINGERPRINT = re.compile(r"[0-9a-f]{64}", re.ASCII)
_AHEAD, _DESCRIBED = 4, 32  # chunks of a prompt that are on their way at once, and whose headers are asked for at once
_KEEP_S, _SIZE_KEPT_S = 2.0, 10.0  # what was learned is good for so long
_GRACE_S = 0.005  # for the loop to say itself that there was no answer in time
_LAST_WRITES_S = 2.0  # for what waits when the tier is closed


class RemoteTier(Tier):
    """Connects when it is first asked. Whatever happens there, a prompt is later by `deadline_s` at most.

    Others write there too, and what the server drops is its own affair: nothing is pinned or spared, uses are not
    counted, and a frame that is there is not replaced. A put returns when its frames wait to be written; of those that
    wait the oldest are dropped when there are too many. What follows in a prompt that was matched lately is got ahead.

    What comes is checked: what is no record of that key, or not whole, is a miss, counted, and deleted there.
    """

    name = "remote"

    def __init__(
        self,
        store: RemoteStore,
        metrics: Metrics | None = None,
        replica: RemoteStore | None = None,
        deadline_s: float = 0.5,
        in_flight_bytes: int = 64 << 20,
        queue_bytes: int = 256 << 20,
        chunk_s: Callable[[], float] = lambda: 0.0,
        ttl_s: float = math.inf,
        writes: bool = True,
    ) -> None:
        """The stores are this tier's from now on. From the `replica` is read where that is sooner, or all there is.

        At most `in_flight_bytes` of values are read from each at once, and `queue_bytes` wait to be written, to be kept
        for `ttl_s` at most.

        `chunk_s` is how long computing a chunk is expected to take, 0 where that is not known. Unless it `writes`,
        every put is declined, and what is wrong there is not deleted.
        """
        self._metrics, self._writes, self._store = metrics or Metrics(), writes, store
        self._first = Endpoint(store, self._metrics, deadline_s, in_flight_bytes)
        self._replica = None if replica is None else Endpoint(replica, self._metrics, deadline_s, in_flight_bytes)
        self._reader = Reader(Replicated(self._first, self._replica, self._metrics), self._metrics, writes)
        self._queue = WriteQueue(self._first, self._metrics, queue_bytes)
        self._loop = LoopThread(store.url)
        self._ttl_s = ttl_s
        self._deadline_s, self._prompts, self._order = deadline_s, Prompts(deadline_s, chunk_s), PromptOrder()
        self._sizes = Recent[int](1 << 15, _KEEP_S)
        self._entries = Recent[Entry](4 * _DESCRIBED, _KEEP_S)
        self._ahead = Recent[_Got](4 * _AHEAD, _KEEP_S, lambda got: got.cancel())
        self._summed: tuple[float, int] | None = None
        self._has_written = False

    def _now(self, call: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """However long it takes: no request waits for it."""
        return self._loop.result(self._loop.begin(call, *args, **kwargs))

    def _soon(self, patience: Patience, begin: Callable[[float], Future[T]]) -> T:
        """What `begin` begins, which is told how many seconds there are for it."""
        with patience.waiting() as left_s:
            if not left_s:
                self._metrics.count("remote_late")
                raise TierUnavailable(f"{self._store.url}: computing is sooner than waiting any longer")
            return self._loop.result(begin(left_s), left_s + _GRACE_S)

    def match(self, keys: Sequence[ChunkKey]) -> int:
        """In one round trip."""
        if not keys:
            return 0
        names = [name_of(key) for key in keys]
        sizes = self._soon(
            self._prompts.begin(keys), lambda left_s: self._loop.begin(self._reader.sizes, names, left_s)
        )
        held = keys[: len(sizes)]
        self._order.note(held)
        self._sizes.note(zip(held, sizes, strict=True))
        return len(held)

    def get(self, key: ChunkKey) -> memoryview | None:
        """Those of the chunks that follow are begun meanwhile."""
        got = self._ahead.take(key)
        patience = self._prompts.of(key)
        value = self._soon(patience, lambda left_s: self._with_those_behind(key, got or self._begin(key, left_s)))
        if value is None:
            return None
        patience.came()
        self._entries.note([(key, value.entry)])
        return value.content

    def _begin(self, key: ChunkKey, patience_s: float) -> _Got:
        return self._loop.begin(self._reader.get, name_of(key), self._sizes.take(key), patience_s)

    def _with_those_behind(self, key: ChunkKey, got: _Got) -> _Got:
        for each in self._order.following(key, _AHEAD)[1:]:
            if each in self._sizes and each not in self._ahead:
                self._ahead.note([(each, self._begin(each, self._deadline_s))])
        return got

    def peek(self, key: ChunkKey, num_bytes: int) -> memoryview | None:
        """As `Tier.peek`, without reading the rest."""
        patience = self._prompts.of(key)
        [value] = self._soon(
            patience, lambda left_s: self._loop.begin(self._reader.begun, [name_of(key)], num_bytes, left_s)
        )
        if value is None:
            return None
        patience.came()
        self._entries.note([(key, value.entry)])
        return value.content

    def entry(self, key: ChunkKey) -> Entry | None:
        """As it was a moment ago, where it was read, or asked for with one before it in its prompt."""
        self._loop.require_usable()
        if (known := self._entries.take(key)) is not None:
            return known
        keys = self._order.following(key, _DESCRIBED)
        names = [name_of(each) for each in keys]
        found = self._soon(self._prompts.of(key), lambda left_s: self._loop.begin(self._reader.begun, names, 0, left_s))
        entries = [None if value is None else value.entry for value in found]
        self._entries.note((each, entry) for each, entry in zip(keys[1:], entries[1:], strict=True) if entry)
        return entries[0]

    def put(
        self, entries: Sequence[tuple[ChunkKey, Frame]], prefix: Sequence[ChunkKey] = (), terms: Terms = NO_TERMS
    ) -> int:
        """How many leading frames are on their way there: not durable, and not yet seen by a `match`."""
        terms = replace(terms, expires_at_s=min(terms.expires_at_s, time.time() + self._ttl_s))
        if not self._writes or terms.expires_at_s <= time.time():
            return 0
        writes, num_bytes = [], 0
        parent = prefix[-1] if prefix else None
        for key, frame in entries:
            try:
                write = Write(name_of(key), parts_of(key, frame, parent, terms), terms.expires_at_s)
            except InvalidRequest as error:
                _log.warning("%s is not written to %s: %s", key, self._store.url, error)
                break
            num_bytes += write.num_bytes
            if num_bytes > self._queue.capacity_bytes or write.num_bytes > self._store.caps.max_value_bytes:
                break
            writes.append(write)
            parent = key
        self._forget()
        if writes:
            self._has_written = True
            self._loop.begin(self._queue.add, writes)
        return len(writes)

    def flush(self, timeout_s: float | None = None) -> None:
        """Waits until all that was put before is there, or given up. Raises TierUnavailable when that takes longer."""
        self._loop.result(self._loop.begin(self._queue.flush), timeout_s)

    def delete(self, key: ChunkKey) -> bool:
        self._forget()
        return self._now(self._delete, [key]) == 1

    def delete_all(self, keys: Sequence[ChunkKey]) -> int:
        self._forget()
        return self._now(self._delete, list(dict.fromkeys(keys)))

    async def _delete(self, keys: Sequence[ChunkKey]) -> int:
        """Of how many there was something."""
        names = [name_of(key) for key in keys]
        await self._queue.forget(names)
        held = await self._store.peek(names, 1)
        await self._store.delete(names)
        return len(held) - held.count(None)

    def touch(self, keys: Sequence[ChunkKey]) -> None:
        """The server ages what it holds by itself."""

    def pin(self, keys: Sequence[ChunkKey], pinned: bool = True) -> int:
        """Nothing is: 0."""
        return 0

    def quarantine(self, key: ChunkKey, reason: str) -> None:
        self._forget()
        self._soon(self._prompts.of(key), lambda _: self._loop.begin(self._delete, [key]))

    def entries(self) -> Iterator[Entry]:
        return iter(self._now(self._listed, FRAMES))

    async def _listed(self, start: str) -> list[Entry]:
        return [value.entry async for value in self._reader.listed(start)]

    def where(self, key: ChunkKey) -> str | None:
        """Its server, and its name there."""
        return f"{self._store.url} {name_of(key)}" if self._now(self._store.sizes, [name_of(key)]) else None

    @property
    def size_bytes(self) -> int:
        """Bytes of all frames; the server is asked to list them all, though not again within some seconds."""
        if self._summed is None or time.monotonic() - self._summed[0] > _SIZE_KEPT_S:
            self._summed = time.monotonic(), self._now(self._sum, FRAMES)
        return self._summed[1]

    async def _sum(self, start: str) -> int:
        return sum([each.size_bytes - HEADER_BYTES async for each in self._store.listed(start) if key_of(each.key)])

    def states(self) -> list[TierState]:
        """As `Tier.states`: of its store, then of the replica. Both are asked how they are."""
        try:
            return self._now(self._states)
        except TierUnavailable as error:
            return [TierState(self.name, self._store.url, problem=str(error))]

    async def _states(self) -> list[TierState]:
        replicas = [] if self._replica is None else [self._replica.state("replica")]
        return await asyncio.gather(self._first.state(self.name), *replicas)

    def rejection(self, key: ChunkKey) -> str | None:
        rejected = self._reader.rejected.get(name_of(key))
        return None if rejected is None else rejected.reason

    def quarantined(self) -> dict[str, dict[str, str | float]]:
        """Of the frames that this process found wrong, the last ones."""
        return {key: asdict(rejected) for key, rejected in self._rejected(FRAMES).items()}

    def rejected_profiles(self) -> dict[str, str]:
        """By fingerprint, why this process found them wrong."""
        return {fingerprint: rejected.reason for fingerprint, rejected in self._rejected(PROFILES).items()}

    def _rejected(self, start: str) -> dict[str, Rejected]:
        rejected = self._reader.rejected.copy().items()
        return {name.removeprefix(start): each for name, each in rejected if name.startswith(start)}

    def keep_profile(self, fingerprint: str, content: bytes) -> bool:
        """Whether it is there when this returns."""
        if not self._writes:
            return False
        write = Write(PROFILES + fingerprint, parts_of(ChunkKey.from_hex(fingerprint), content), math.inf)
        return self._now(self._store.put, write.name, write.parts) or self.profile(fingerprint) == content

    def profile(self, fingerprint: str) -> bytes | None:
        """None also when what is held under that name is damaged, which is deleted."""
        if not _FINGERPRINT.fullmatch(fingerprint):
            return None
        value = self._now(self._reader.get, PROFILES + fingerprint, None, WRITING * self._deadline_s)
        content = None if value is None else bytes(value.content)
        return content if content is None or hashlib.sha256(content).hexdigest() == fingerprint else None

    def profiles(self) -> list[str]:
        newest_first = sorted(self._now(self._listed, PROFILES), key=lambda each: each.saved_at_s, reverse=True)
        return [str(each.key) for each in newest_first]

    def drop_profile(self, fingerprint: str) -> None:
        self._now(self._store.delete, [PROFILES + fingerprint])

    @property
    def profile_bytes(self) -> int:
        """Bytes of all profiles held; the server is asked to list them."""
        return self._now(self._sum, PROFILES)

    def _forget(self) -> None:
        """What is about to change is learned anew."""
        self._loop.require_usable()
        for learned in (self._sizes, self._entries, self._ahead):
            learned.clear()
        self._summed = None

    def close(self) -> None:
        """What waits to be written, or is on its way there, is, for a few seconds, and what is being deleted there."""
        if self._has_written and not self._first.writing.is_open:
            with suppress(TierUnavailable):
                self.flush(_LAST_WRITES_S)
        if self._reader.is_deleting:
            with suppress(TierUnavailable):
                self._loop.result(self._loop.begin(self._reader.settle), _LAST_WRITES_S)
        self._loop.close(self._aclose)

    async def _aclose(self) -> None:
        await self._store.aclose()
        if self._replica is not None:
            await self._replica.store.aclose()
