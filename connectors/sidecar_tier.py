"""SidecarTier: the frames of a sidecar, on this host or another, as a tier of this process."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

from connectors.client import SidecarClient
from connectors.loop_thread import LoopThread
from connectors.read_ahead import PromptOrder, Recent
from connectors.segment_reads import read_in_file
from connectors.sidecar.schemas import MOST_KEYS
from connectors.sidecar_connection import TooLarge, new_room
from kvstore import ChunkKey, CorruptFrame, Entry, MissingProfile, Terms, Tier, TierUnavailable
from kvstore.grouping import groups
from kvstore.tier import NO_TERMS, Frame, InFile

P = ParamSpec("P")
T = TypeVar("T")
_log = logging.getLogger(__name__)
_Body = Future[memoryview | None]
_FINGERPRINT = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TOGETHER_BYTES = 32 << 20  # in one body
_DESCRIBED, _BODIES = 64, 4  # chunks of a prompt that are asked about at once, and that are on their way at once
_KEEP_S = 2.0  # what was learned ahead is good for so long


class SidecarTier(Tier):
    """Connects when it is first asked: a sidecar that is not there, or no longer, is TierUnavailable.

    Over a Unix socket frames are read where they lie. What follows in a prompt that was matched lately is learned
    ahead, so that a load does not wait for an answer for every chunk. A frame that is not what its checksum says when
    it comes is TierUnavailable as well: whether it is sound where it lies, the sidecar sees. Raises InvalidRequest
    when the sidecar does not know the token, or it is another tenant's than that of what is put. `spared` is of no
    use here: a lease is, which `SidecarClient.match` takes.
    """

    name = "sidecar"

    def __init__(self, url: str, token: str = "", timeout_s: float = 2.0, writes: bool = True) -> None:
        """As `SidecarClient`. Unless it `writes`, every put is declined."""
        self._client, self._writes = SidecarClient(url, token, timeout_s), writes
        self._loop = LoopThread(f"the sidecar at {url}")
        self._declined = set[str]()
        self._order = PromptOrder()
        self._entries = Recent[Entry](4 * _DESCRIBED, _KEEP_S)
        self._places = Recent[Sequence[InFile]](4 * _DESCRIBED, _KEEP_S)
        """One place, or none where the frame lies in no file."""
        self._bodies = Recent[_Body](4 * _BODIES, _KEEP_S, lambda body: body.cancel())

    def _ask(self, call: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._came(self._loop.begin(call, *args, **kwargs))

    def _came(self, answer: Future[T]) -> T:
        try:
            return self._loop.result(answer)
        except CorruptFrame as error:
            raise TierUnavailable(str(error)) from error

    def match(self, keys: Sequence[ChunkKey]) -> int:
        held = _leading(keys, lambda some: self._ask(self._client.match, some).held)
        self._order.note(keys[:held])
        return held

    def get(self, key: ChunkKey) -> memoryview | None:
        self._loop.require_usable()
        if not self._client.on_this_host:
            return self._body(key)
        places = self._places.take(key)
        if places is None:
            keys = self._order.following(key, _DESCRIBED)
            described = self._ask(self._client.descriptors, keys)
            if not described.held:
                return None
            places, *others = ([] if place is None else [place] for place in described.places)
            self._places.note(zip(keys[1:], others, strict=False))
        frame = read_in_file(places[0], new_room) if places else None
        return self._body(key) if frame is None else frame

    def _body(self, key: ChunkKey) -> memoryview | None:
        """Those of the chunks that follow are begun meanwhile."""
        body = self._bodies.take(key) or self._loop.begin(self._client.body, key)
        ahead = (each for each in self._order.following(key, _BODIES)[1:] if each not in self._bodies)
        self._bodies.note([(each, self._loop.begin(self._client.body, each)) for each in ahead])
        return self._came(body)

    def peek(self, key: ChunkKey, num_bytes: int) -> memoryview | None:
        """As `Tier.peek`, without reading the rest."""
        return self._ask(self._client.first_bytes, key, num_bytes)

    def put(
        self, entries: Sequence[tuple[ChunkKey, Frame]], prefix: Sequence[ChunkKey] = (), terms: Terms = NO_TERMS
    ) -> int:
        """Not durable when it returns, as `SidecarClient.put` can be: the sidecar writes a little later."""
        if not self._writes:
            return 0
        self._forget()
        parent, stored = (prefix[-1] if prefix else None), 0
        for group in groups(entries, lambda entry: len(entry[1]), _TOGETHER_BYTES):
            try:
                taken = self._write(group, parent, terms)
            except TierUnavailable:
                if not stored:
                    raise
                break
            stored += taken
            if taken < len(group):
                break
            parent = group[-1][0]
        return stored

    def _write(self, group: Sequence[tuple[ChunkKey, Frame]], parent: ChunkKey | None, terms: Terms) -> int:
        """In halves where it is more than the sidecar takes at once; a frame that is, does not fit."""
        try:
            return self._ask(self._client.write, group, parent, terms)
        except TooLarge:
            half = len(group) // 2
            if not half:
                return 0
        stored = self._write(group[:half], parent, terms)
        return stored if stored < half else stored + self._write(group[half:], group[half - 1][0], terms)

    def delete(self, key: ChunkKey) -> bool:
        self._forget()
        return self._ask(self._client.delete, key)

    def touch(self, keys: Sequence[ChunkKey]) -> None:
        self._forget()
        for some in _portions(keys):
            self._ask(self._client.touch, some)

    def pin(self, keys: Sequence[ChunkKey], pinned: bool = True) -> int:
        """Durable when it returns."""
        self._forget()
        return _leading(keys, lambda some: self._ask(self._client.pin, some, pinned))

    def entry(self, key: ChunkKey) -> Entry | None:
        """As it was a moment ago, where it was asked for with one before it in its prompt."""
        self._loop.require_usable()
        if (known := self._entries.take(key)) is not None:
            return known
        found = {entry.key: entry for entry in self._ask(self._client.entries, self._order.following(key, _DESCRIBED))}
        asked_for = found.pop(key, None)
        self._entries.note(found.items())
        return asked_for

    def entries(self) -> Iterator[Entry]:
        """Of what the token may see."""
        return iter(self._ask(self._client.entries))

    def where(self, key: ChunkKey) -> str | None:
        """The file and the byte where it begins, on this host; else its address."""
        if (place := self.in_file(key)) is not None:
            return f"{place.path} at {place.offset}"
        return f"{self._client.url}/v1/frames/{key}" if self._ask(self._client.entry, key) else None

    def in_files(self, keys: Sequence[ChunkKey]) -> list[InFile | None]:
        """Asks for one after the other: the sidecar tells of the leading ones that it holds."""
        if not self._client.on_this_host:
            return [None] * len(keys)
        asked = (self._ask(self._client.descriptors, [key]).places for key in keys)
        return [next(iter(places), None) for places in asked]

    @property
    def size_bytes(self) -> int:
        """Bytes of all frames that the token may see; each is asked for."""
        return sum(entry.size_bytes for entry in self.entries())

    def quarantine(self, key: ChunkKey, reason: str) -> None:
        self._forget()
        self._ask(self._client.quarantine, key, reason)

    def rejection(self, key: ChunkKey) -> str | None:
        """As the sidecar remembers it; the admin's token sees that."""
        return self._ask(self._client.rejection, key)

    def keep_profile(self, fingerprint: str, content: bytes) -> bool:
        """What the sidecar has declined is not sent again."""
        if not self._writes or fingerprint in self._declined:
            return False
        try:
            kept = self._ask(self._client.keep_profile, fingerprint, content) or fingerprint in self.profiles()
        except TooLarge:
            kept = False
        if not kept:
            self._declined.add(fingerprint)
            _log.warning(
                "the sidecar at %s does not keep profile %s, which others need to read what is saved: its admin's "
                "token may put it there",
                self._client.url,
                fingerprint,
            )
        return kept

    def profile(self, fingerprint: str) -> bytes | None:
        content = self._ask(self._client.profile, fingerprint) if _FINGERPRINT.fullmatch(fingerprint) else None
        if content is not None and hashlib.sha256(content).hexdigest() != fingerprint:
            raise MissingProfile(f"profile {fingerprint[:12]} of the sidecar at {self._client.url} is another one")
        return content

    def profiles(self) -> list[str]:
        return self._ask(self._client.profiles)

    def _forget(self) -> None:
        """What is about to change is learned anew."""
        self._loop.require_usable()
        self._entries.clear()
        self._places.clear()
        self._bodies.clear()

    def close(self) -> None:
        self._loop.close(self._client.close)


def _portions(keys: Sequence[ChunkKey]) -> Iterator[Sequence[ChunkKey]]:
    """As many at once as a sidecar takes."""
    return (keys[start : start + MOST_KEYS] for start in range(0, len(keys), MOST_KEYS))


def _leading(keys: Sequence[ChunkKey], count: Callable[[Sequence[ChunkKey]], int]) -> int:
    """How many leading keys, as `count` says it of some of them."""
    counted = 0
    for some in _portions(keys):
        more = count(some)
        counted += more
        if more < len(some):
            break
    return counted
