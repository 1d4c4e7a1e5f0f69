"""SidecarClient: what a sidecar does, asked from an event loop. Bytes are checked before anybody gets them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import xxhash
from pydantic import TypeAdapter

from connectors import frame_stream
from connectors.segment_reads import read_in_file
from connectors.sidecar.schemas import (
    Accepted,
    DeleteAnswer,
    DescriptorAnswer,
    EntryBody,
    Held,
    LeaseBody,
    MatchAnswer,
    ProfileList,
    PutAnswer,
)
from connectors.sidecar_answers import Described, Layers, RemoteMatch, described_of, entry_of, match_of
from connectors.sidecar_connection import (
    MOST_BYTES,
    Answer,
    Connection,
    OutOfService,
    Parts,
    Query,
    Room,
    checked_body,
    new_room,
    text_of,
)
from kvstore import ChunkKey, CorruptFrame, Entry, Terms, TierUnavailable
from kvstore.tier import NO_TERMS, Frame

_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)
_ABSENT = ("not-found",)


class SidecarClient:
    """For one event loop; any number of calls at once. `with` ends its connections.

    What is not held is None or False. Every call may raise TierUnavailable, when the sidecar does not answer as it
    should or in time; InvalidRequest, when it does not know the token or the call makes no sense; and CorruptFrame,
    when what came over the network, either way, is not what its checksum says. Nothing is tried twice.
    """

    def __init__(self, url: str, token: str = "", timeout_s: float = 2.0) -> None:
        """As `Connection`. Over a Unix socket, frames are read where they lie."""
        self._connection = Connection(url, token, timeout_s)
        self.url = self._connection.url
        self.on_this_host = self._connection.socket is not None

    async def match(self, keys: Sequence[ChunkKey], lease_s: float = 0.0) -> RemoteMatch:
        """As `Tier.match`; for `lease_s`, what is held is not dropped to make room."""
        answer = await self._said(MatchAnswer, "POST", "/v1/match", {**_keys(keys), "lease_s": lease_s})
        with self._connection.understood():
            return match_of(answer, len(keys))

    async def descriptors(self, keys: Sequence[ChunkKey], lease_s: float = 0.0) -> Described:
        """As `match`, with places; over a Unix socket only."""
        answer = await self._said(DescriptorAnswer, "POST", "/v1/descriptors", {**_keys(keys), "lease_s": lease_s})
        with self._connection.understood():
            return described_of(answer, len(keys))

    async def get(self, key: ChunkKey, room: Room = new_room) -> memoryview | None:
        """The frame, read-only: where it lies over a Unix socket, else its body. Counts as no use."""
        if self.on_this_host:
            described = await self.descriptors([key])
            if not described.held:
                return None
            place = described.places[0]
            frame = None if place is None else await asyncio.to_thread(read_in_file, place, room)
            if frame is not None:
                return frame
        return await self.body(key, room)

    async def body(self, key: ChunkKey, room: Room = new_room) -> memoryview | None:
        """As `get`, over the connection."""
        async with self._connection.call("GET", _frame(key), {"touch": False}, absent=_ABSENT) as response:
            return None if response is None else await checked_body(response, room)

    async def first_bytes(self, key: ChunkKey, num_bytes: int, room: Room = new_room) -> memoryview | None:
        """As `Tier.peek`."""
        wanted = {"Range": f"bytes=0-{max(num_bytes, 1) - 1}"}
        async with self._connection.call("GET", _frame(key), {"touch": False}, wanted, absent=_ABSENT) as response:
            return None if response is None else (await checked_body(response, room))[:num_bytes]

    async def get_layers(self, key: ChunkKey, first: int, end: int, room: Room = new_room) -> Layers | None:
        """At least layers [first, end): codecs code several together. Raises InvalidRequest on others than it has."""
        query: Query = {"touch": False, "layers": f"{first}:{end}"}
        async with self._connection.call("GET", _frame(key), query, absent=_ABSENT) as response:
            if response is None:
                return None
            sections = await checked_body(response, room)
            with self._connection.understood():
                start = int(response.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0])
                first, end = map(int, response.headers.get("Kvstore-Layers", "").split(":"))
            return Layers(sections, start, first, end)

    async def read(self, keys: Sequence[ChunkKey]) -> AsyncIterator[tuple[ChunkKey, memoryview]]:
        """The frames of the leading keys held, in one body. What was yielded before it raises is right."""
        async with self._connection.call(
            "POST", "/v1/frames/read", json=_keys(keys), as_long_as_it_comes=True
        ) as response:
            assert response is not None
            frames = frame_stream.read_frames(response.content.iter_any(), MOST_BYTES)
            expected = iter(keys)
            async for key, frame in frames:
                if key != next(expected, None):
                    raise CorruptFrame(f"chunk {key} came, and was not asked for")
                yield key, memoryview(frame).toreadonly()

    async def put(
        self,
        key: ChunkKey,
        frame: Frame,
        parent: ChunkKey | None = None,
        tenant: str | None = None,
        ttl_s: float = 0.0,
        durable: bool = False,
    ) -> bool:
        """False when no tier took it. `durable`: when it returns, it outlives a loss of power."""
        query = {"parent": _digits(parent), "tenant": tenant, "ttl_s": ttl_s, "durable": durable}
        checksum = {"Kvstore-Xxh3": xxhash.xxh3_128_hexdigest(frame)}
        return bool(await self._stored("PUT", _frame(key), query, Parts([frame]), checksum))

    async def write(
        self,
        entries: Sequence[tuple[ChunkKey, Frame]],
        parent: ChunkKey | None = None,
        terms: Terms = NO_TERMS,
        durable: bool = False,
    ) -> int:
        """Frames of one prompt, each behind the one before, in one body: how many leading ones were kept.

        Raises TooLarge when that is more than the sidecar takes at once.
        """
        until_s = None if terms.expires_at_s == math.inf else terms.expires_at_s
        query = {"parent": _digits(parent), "tenant": terms.tenant, "expires_at_s": until_s, "durable": durable}
        parts = [part for key, frame in entries for part in (frame_stream.head_of(key, frame), frame)]
        stored = await self._stored("POST", "/v1/frames/write", query, Parts(parts, frame_stream.MEDIA_TYPE))
        return min(stored, len(entries))

    async def _stored(
        self, method: str, path: str, query: Query, body: Parts, headers: Mapping[str, str] | None = None
    ) -> int:
        async with self._connection.call(method, path, query, headers, body, absent=("no-room",)) as response:
            return 0 if response is None else self._connection.shaped(PutAnswer, await text_of(response)).stored

    async def head(self, key: ChunkKey) -> int | None:
        """How many bytes the frame has."""
        entry = await self.entry(key)
        return None if entry is None else entry.size_bytes

    async def entry(self, key: ChunkKey) -> Entry | None:
        """As `Tier.entry`."""
        absent = ("not-found", "out-of-service")
        answer = await self._connection.ask(EntryBody, "GET", f"/v1/entries/{key}", absent=absent)
        return None if answer is None else self._entry(answer)

    async def entries(self, keys: Sequence[ChunkKey] | None = None) -> list[Entry]:
        """All that the token may see, or those of `keys` that are held."""
        method, path = ("GET", "/v1/entries") if keys is None else ("POST", "/v1/entries/read")
        asked = None if keys is None else _keys(keys)
        async with self._connection.call(method, path, json=asked, as_long_as_it_comes=True) as response:
            assert response is not None
            found, rest = list[Entry](), b""
            async for piece in response.content.iter_any():
                *lines, rest = (rest + piece).split(b"\n")
                found += [self._entry(self._connection.shaped(EntryBody, line)) for line in lines]
        if rest:
            raise TierUnavailable(f"the list from {self.url} ends in the middle of a line")
        return found

    def _entry(self, body: EntryBody) -> Entry:
        with self._connection.understood():
            return entry_of(body)

    async def rejection(self, key: ChunkKey) -> str | None:
        """As `Tier.rejection`, for the admin's token."""
        try:
            async with self._connection.call("GET", f"/v1/entries/{key}", absent=_ABSENT):
                return None
        except OutOfService as error:
            return str(error)

    async def delete(self, key: ChunkKey) -> bool:
        """One frame; what lies behind it stays."""
        return await self._done("DELETE", _frame(key))

    async def delete_with_all_behind(self, dry_run: bool = False, **which: object) -> DeleteAnswer:
        """`which` are the fields of DeleteRequest, keys as hex digits."""
        return await self._said(DeleteAnswer, "POST", "/v1/delete", {**which, "dry_run": dry_run})

    async def touch(self, keys: Sequence[ChunkKey]) -> None:
        """As `Tier.touch`."""
        await self._done("POST", "/v1/touch", _keys(keys))

    async def pin(self, keys: Sequence[ChunkKey], pinned: bool = True) -> int:
        """As `Tier.pin`."""
        return (await self._said(Held, "POST", "/v1/pin", {**_keys(keys), "pinned": pinned})).held

    async def prefetch(self, keys: Sequence[ChunkKey]) -> int:
        """Has them copied to the sidecar's fastest tier: how many leading ones will be tried."""
        return (await self._said(Accepted, "POST", "/v1/prefetch", _keys(keys))).accepted

    async def renew(self, lease: str, lease_s: float) -> bool:
        """False when it has ended."""
        return (
            await self._connection.ask(LeaseBody, "PUT", f"/v1/leases/{lease}", {"lease_s": lease_s}, ("not-found",))
            is not None
        )

    async def release(self, lease: str) -> bool:
        """False when it had ended."""
        return await self._done("DELETE", f"/v1/leases/{lease}")

    async def quarantine(self, key: ChunkKey, reason: str) -> bool:
        """As `Tier.quarantine`; False when it is not held."""
        return await self._done(
            "POST", "/v1/quarantine", {"key": str(key), "reason": reason[:500] or "no reason given"}
        )

    async def profiles(self) -> list[str]:
        """As `Tier.profiles`."""
        return (await self._said(ProfileList, "GET", "/v1/profiles")).profiles

    async def profile(self, fingerprint: str) -> bytes | None:
        """As `Tier.profile`; whoever uses it compares the fingerprint."""
        async with self._connection.call(
            "GET", f"/v1/profiles/{fingerprint}", absent=_ABSENT, as_long_as_it_comes=True
        ) as response:
            return None if response is None else bytes(await checked_body(response, new_room))

    async def keep_profile(self, fingerprint: str, content: bytes) -> bool:
        """As `Tier.keep_profile`; False as well unless the token is the admin's."""
        checksum = {"Kvstore-Xxh3": xxhash.xxh3_128_hexdigest(content)}
        absent = ("no-room", "forbidden")
        async with self._connection.call(
            "PUT", f"/v1/profiles/{fingerprint}", headers=checksum, body=Parts([content]), absent=absent
        ) as response:
            return response is not None

    async def json(self, method: str, path: str, body: object = None) -> Any:
        """What any other route answers, as JSON; None for nothing."""
        async with self._connection.call(method, path, json=body) as response:
            assert response is not None
            text = await text_of(response)
        return _ANYTHING.validate_json(text) if text else None

    async def _said(self, answer: type[Answer], method: str, path: str, json: object = None) -> Answer:
        found = await self._connection.ask(answer, method, path, json)
        assert found is not None, "nothing may be absent"
        return found

    async def _done(self, method: str, path: str, json: object = None) -> bool:
        async with self._connection.call(method, path, json=json, absent=_ABSENT) as response:
            return response is not None

    async def close(self) -> None:
        """Ends its connections. Safe to repeat."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()


def _frame(key: ChunkKey) -> str:
    return f"/v1/frames/{key}"


def _keys(keys: Sequence[ChunkKey]) -> dict[str, object]:
    return {"keys": [str(key) for key in keys]}


def _digits(key: ChunkKey | None) -> str | None:
    return None if key is None else str(key)
