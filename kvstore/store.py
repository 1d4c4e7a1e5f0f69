"""KVStore: save, match, load, check. Tokens and KV arrays in, KV arrays out; everything between is here.

The two paths:

    save   tokens, KV -> keys -> skip what is held -> encode -> frames -> tier
    match  tokens -> keys -> how many leading chunks are held (metadata only)
    plan   match -> how much of it is sooner loaded than computed, by what was measured
    load   match -> frames -> verify -> decode, in order; stops at the first chunk gone or damaged

A profile that the codec needs is kept by the tiers before the first frame that needs it.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Self

from codec import Codec, CorruptFrame, DeviceFrame, KVArray, KVSpec, encode_chunk, registered
from kvstore.admission import Admission
from kvstore.check import Checked, check_tier
from kvstore.chunk_reader import WRONG, ChunkReader
from kvstore.cost import AlwaysLoad, CostModel
from kvstore.errors import InvalidRequest
from kvstore.key import ChunkKey, Identity, LoRA, Multimodal, chunk_keys
from kvstore.match import PrefixMatch
from kvstore.metrics import Metrics
from kvstore.pipeline import DECODERS, in_order
from kvstore.profiles import profile_named
from kvstore.tier import Terms, Tier
from kvstore.tiered import Tiers

_log = logging.getLogger(__name__)
DEFAULT_CHUNK_TOKENS = 128
_SAVE_GROUP_BYTES = 32 << 20  # encoded frames are handed to the tier in groups of this size


@dataclass(frozen=True)
class Saved:
    """What became of a prompt's full chunks: newly saved, held before, or taken by no tier."""

    saved: int
    held: int
    declined: int


class KVStore:
    """Keeps the KV of prompts by chunk and gives back the longest prefix held. Safe in threads.

    Delivering fewer tokens than were asked for is always legal; delivering different ones never is. A
    chunk that fails any check is quarantined, counted and treated as a miss.
    """

    def __init__(
        self,
        tiers: Sequence[Tier],
        codec: Codec,
        chunk_tokens: int = DEFAULT_CHUNK_TOKENS,
        metrics: Metrics | None = None,
        ttl_s: float = math.inf,
        clock: Callable[[], float] = time.time,
        admission: Admission | None = None,
        cost: CostModel | None = None,
        target_s: float = math.inf,
        decoders: int = DECODERS,
    ) -> None:
        """`tiers` fastest first; they are closed with the store. What is saved is kept for `ttl_s` at most.

        Without an `admission` every tier gets every chunk, with one those below the first get what it admits.
        `cost` plans what is loaded; without one that is whatever is held. Frames that can be read at several
        qualities are read at the finest that has the first token come within `target_s`. `decoders` chunks are
        decoded at once.

        Raises InvalidRequest on `chunk_tokens` < 1, MissingProfile when the codec's profile is not registered.
        """
        if chunk_tokens <= 0:
            raise InvalidRequest(f"chunk_tokens is {chunk_tokens}; a chunk needs at least one token")
        self.codec, self.chunk_tokens = codec, chunk_tokens
        self._ttl_s, self._clock, self._target_s, self._decoders = ttl_s, clock, target_s, decoders
        self.metrics = metrics or Metrics()
        self.cost = cost or AlwaysLoad()
        self.tier = Tiers(tiers, self.metrics, admission, self.cost)
        self._reader = ChunkReader(self.tier, codec, self.metrics, self.cost)
        fingerprint = profile_named(codec.id, codec.params())
        self._profile = None if fingerprint is None else registered(fingerprint)
        self._profiles_kept = set[str]()  # one for all copies
        self._closing = ExitStack()
        self._closing.callback(self.tier.close)

    def in_chunks_of(self, num_tokens: int) -> KVStore:
        """The same store for chunks of another length: the same tiers, codec and metrics, closed with this one."""
        if num_tokens <= 0:
            raise InvalidRequest(f"a chunk of {num_tokens} tokens holds none")
        other = copy.copy(self)
        other.chunk_tokens = num_tokens
        return other

    def identity(self, spec: KVSpec, tenant: str = "", lora: LoRA | None = None) -> Identity:
        """Who asks, for which KV, in this store's codec and chunk size."""
        return Identity(spec, self.codec.identity(), self.chunk_tokens, tenant, lora)

    def match(self, identity: Identity, token_ids: Sequence[int], multimodal: Sequence[Multimodal] = ()) -> PrefixMatch:
        """The leading full chunks of the prompt that are held now. Reads no frame and changes nothing."""
        keys = chunk_keys(identity, token_ids, multimodal)
        tiers = tuple(name for name, held in self.tier.runs(keys) for _ in range(held))
        return PrefixMatch(identity, tuple(keys[: len(tiers)]), tiers)

    def plan(self, match: PrefixMatch, num_tokens: int) -> PrefixMatch:
        """As much of the match as is expected to be sooner loaded than computed, for a prompt of `num_tokens`.

        Reads no frame before it returns, but may have one of those left out loaded in the background, now and
        then, to learn whether that still takes too long.
        """
        plan = self.cost.plan(
            match.identity.spec.fingerprint(),
            self._reader.held(match),
            self.chunk_tokens,
            num_tokens,
            list(self._reader.shares) or [self.codec.id],
            self._target_s,
            context=match.start,
        )
        if plan.num_chunks < len(match.keys):
            self.metrics.count("tokens_not_loaded", (len(match.keys) - plan.num_chunks) * self.chunk_tokens)
            if self.cost.retry_due(plan) and not self.tier.background.submit(
                partial(self._retry, match, plan.num_chunks)
            ):
                self.cost.retried(0.0)
        return self._timed(match.first(plan.num_chunks), num_tokens)

    def _timed(self, match: PrefixMatch, num_tokens: int) -> PrefixMatch:
        """With the moment from which computing the rest would be too late for the target, where that is known."""
        if not self._reader.shares or math.isinf(self._target_s):
            return match
        behind = match.start + match.num_tokens
        computing_s = self.cost.computing_s(match.identity.spec.fingerprint(), num_tokens, behind)
        if math.isinf(computing_s):
            return match
        return replace(match, until_s=time.monotonic() + self._target_s - computing_s)

    def _retry(self, match: PrefixMatch, index: int) -> None:
        started_s = time.perf_counter()
        try:
            out = KVArray.empty(match.identity.spec, self.chunk_tokens)
            start = match.start + index * self.chunk_tokens
            self._reader.decode(match.keys[index], start, self.tier.get(match.keys[index]), out)
        except WRONG:
            _log.debug("chunk %s was to be loaded again; a load will say what is wrong", match.keys[index])
        finally:
            self.cost.retried(time.perf_counter() - started_s)

    def prefetch(self, match: PrefixMatch) -> int:
        """Has the match's frames copied to the fastest tier, in the background, as far as there is room for it.

        Never blocks. Returns how many leading chunks that will be tried for; a load meanwhile is right.
        """
        return self.tier.prefetch(match.keys)

    def load(self, match: PrefixMatch) -> KVArray | None:
        """The KV of the longest part of the match that is still there and whole; None when nothing is."""
        if not match.keys:
            return None
        out = KVArray.empty(match.identity.spec, match.num_tokens)
        num_tokens = self.load_into(match, out)
        return out.tokens(0, num_tokens) if num_tokens else None

    def load_into(self, match: PrefixMatch, out: KVArray) -> int:
        """As `load`, into the first tokens of `out`; returns how many are delivered (whole chunks).

        What lies behind them in `out` may have been overwritten. Raises InvalidRequest when `out` is of
        another spec or has less room than the match, or the match is of another codec or chunk size.
        """
        if out.spec != match.identity.spec or out.num_tokens < match.num_tokens:
            raise InvalidRequest(f"out holds {out.num_tokens} tokens of {out.spec.model}, the match {match.num_tokens}")
        return self.load_chunks(match, self._chunks_of(out, len(match.keys))) * self.chunk_tokens

    def load_chunks(
        self,
        match: PrefixMatch,
        rooms: Sequence[KVArray],
        stopped: Callable[[], bool] = lambda: False,
        to: int | None = None,
    ) -> int:
        """As `load`, each chunk into a room of its own; returns how many chunks are delivered.

        The rooms after those may have been overwritten. Asked before every chunk, `stopped` ends it early. Keys come
        for positions from `to` on: from where they were computed unless given.
        Raises InvalidRequest when the rooms are fewer than the chunks, of another length, spec, codec or chunk size.
        """
        self._require_own(match.identity)
        self._require_chunks(match.identity.spec, rooms)
        if len(rooms) < len(match.keys):
            raise InvalidRequest(f"there is room for {len(rooms)} chunks, the match has {len(match.keys)}")

        held = self._reader.held(match) if match.until_s < math.inf else []
        began_s = time.perf_counter()

        def read(index: int) -> tuple[str | None, memoryview | DeviceFrame | None]:
            quality = self._reader.quality(match, held[index:])
            return quality, self._reader.read(match.keys[index], rooms[index], quality)

        def decode(index: int, found: tuple[str | None, memoryview | DeviceFrame | None]) -> bool:
            quality, data = found
            start = match.start + index * self.chunk_tokens
            place = start if to is None else to + index * self.chunk_tokens
            return self._reader.decode(match.keys[index], start, data, rooms[index], quality, place)

        loaded = 0
        for decoding in in_order(range(len(match.keys)), read, decode, self._decoders):
            if stopped() or not self._reader.delivered(match.keys[loaded], decoding):
                break
            loaded += 1
        self._was_loaded(match, loaded)
        self._spared(match, loaded, time.perf_counter() - began_s)
        return loaded

    def _spared(self, match: PrefixMatch, num_chunks: int, loading_s: float) -> None:
        """Counts what loading took beside what computing would have added, where that is known."""
        model, num_tokens = match.identity.spec.fingerprint(), num_chunks * self.chunk_tokens
        computing_s = self.cost.spared_s(model, num_tokens, match.start)
        if computing_s and num_chunks:
            self.metrics.count("loading_ms", round(1000 * loading_s))
            self.metrics.count("computing_spared_ms", round(1000 * computing_s))

    def _was_loaded(self, match: PrefixMatch, num_chunks: int) -> None:
        self.tier.touch(match.before + match.keys[:num_chunks])
        self.metrics.count("chunks_loaded", num_chunks)
        self.metrics.count("tokens_loaded", num_chunks * self.chunk_tokens)

    def load_layers(self, match: PrefixMatch, room: KVArray, to: int) -> Iterator[int] | None:
        """The match's first chunk, layer by layer: its frame is read and checked now, and decoded into `room` as the
        iterator is asked, which yields how many layers are there. Keys come for positions from `to` on.

        None when the chunk is gone or damaged. What a decoder still finds wrong is raised, and `room` part-written.
        Raises InvalidRequest as `load_chunks`.
        """
        self._require_own(match.identity)
        self._require_chunks(match.identity.spec, [room])
        key = match.keys[0]
        data = self.tier.get(key)
        if data is None:
            self.metrics.count("chunks_vanished")
            return None
        layers = self._reader.begin(key, match.start, data, room, to)
        if layers is not None:
            self._was_loaded(match, 1)
        return layers

    def loading_s(self, match: PrefixMatch) -> float:
        """Seconds to expect until the match is loaded, at full quality; 0 for what was not measured yet."""
        if not (held := self._reader.held(match)):
            return 0.0
        finest = next(iter(held[0].num_bytes))
        return self.cost.loading_s(match.identity.spec.fingerprint(), held, finest, self.chunk_tokens)

    def _chunks_of(self, kv: KVArray, num_chunks: int) -> list[KVArray]:
        starts = range(0, num_chunks * self.chunk_tokens, self.chunk_tokens)
        return [kv.tokens(start, start + self.chunk_tokens) for start in starts]

    def _require_chunks(self, spec: KVSpec, chunks: Sequence[KVArray]) -> None:
        for chunk in chunks:
            if chunk.spec != spec or chunk.num_tokens != self.chunk_tokens:
                raise InvalidRequest(f"{chunk.num_tokens} tokens of {chunk.spec.model} are no chunk of {spec.model}")

    def _keep_profile(self) -> None:
        if self._profile is None or self._profile.fingerprint in self._profiles_kept:
            return
        if self.tier.keep_profile(self._profile.fingerprint, self._profile.content):
            self._profiles_kept.add(self._profile.fingerprint)

    def save(
        self,
        identity: Identity,
        token_ids: Sequence[int],
        kv: KVArray,
        start: int = 0,
        multimodal: Sequence[Multimodal] = (),
        pace: Callable[[], object] = lambda: None,
    ) -> Saved:
        """Stores the full chunks of a prompt that are not held yet; durable, as far as the tier is, on return.

        `kv` holds the prompt's tokens from position `start`, a multiple of the chunk size, on; `token_ids`
        is the whole prompt from position 0. When a chunk before `start` is not held, nothing is saved: it
        could not be reached. Safe to repeat. `pace` is called before each chunk is encoded, and may wait. Raises
        InvalidRequest on a misaligned start, and when the identity or `kv` is of another codec, chunk size or spec.
        """
        if kv.spec != identity.spec:
            raise InvalidRequest(
                f"the KV is of {kv.spec.model}, or another spec of it; asked for is {identity.spec.model}"
            )
        num_chunks = min(kv.num_tokens, max(len(token_ids) - start, 0)) // self.chunk_tokens
        return self.save_chunks(identity, token_ids, self._chunks_of(kv, num_chunks), start, multimodal, pace)

    def save_chunks(
        self,
        identity: Identity,
        token_ids: Sequence[int],
        chunks: Sequence[KVArray],
        start: int = 0,
        multimodal: Sequence[Multimodal] = (),
        pace: Callable[[], object] = lambda: None,
    ) -> Saved:
        """As `save`, the KV chunk by chunk. Raises InvalidRequest also when a chunk is of another length."""
        self._require_own(identity)
        self._require_chunks(identity.spec, chunks)
        if start % self.chunk_tokens:
            raise InvalidRequest(f"start {start} is not a multiple of {self.chunk_tokens}")
        keys = chunk_keys(identity, token_ids[: start + len(chunks) * self.chunk_tokens], multimodal)
        held, first = self.tier.match(keys), start // self.chunk_tokens
        terms = Terms(identity.tenant, self._clock() + self._ttl_s)
        at = len(identity.behind) + held * self.chunk_tokens
        saved = self._save_from(keys, held, chunks[held - first :], at, terms, pace) if held >= first else 0
        result = Saved(saved, held, len(keys) - held - saved)
        self.metrics.count("chunks_saved", result.saved)
        self.metrics.count("chunks_held", result.held)
        self.metrics.count("chunks_declined", result.declined)
        return result

    def _save_from(
        self,
        keys: Sequence[ChunkKey],
        first: int,
        chunks: Sequence[KVArray],
        start: int,
        terms: Terms,
        pace: Callable[[], object],
    ) -> int:
        """Encodes and puts `keys` from `first` on, whose KV `chunks` are, from position `start` on; how many of them a
        tier took."""
        self._keep_profile()
        saved, group = 0, []
        for index, chunk in enumerate(chunks, first):
            pace()
            at = start + (index - first) * self.chunk_tokens
            group.append((keys[index], encode_chunk(self.codec, chunk, str(keys[index]), at)))
            if index + 1 == len(keys) or sum(len(frame) for _, frame in group) >= _SAVE_GROUP_BYTES:
                stored = self.tier.put(group, keys[: index + 1 - len(group)], terms)
                saved += stored
                if stored < len(group):
                    break
                group = []
        return saved

    def _require_own(self, identity: Identity) -> None:
        """Another store's identity would file this codec's frames under that store's keys."""
        if (identity.codec, identity.chunk_tokens) != (self.codec.identity(), self.chunk_tokens):
            raise InvalidRequest(
                f"the identity is of {identity.codec} in chunks of {identity.chunk_tokens} tokens; "
                f"this store has {self.codec.identity()} in chunks of {self.chunk_tokens}"
            )

    def check(self, repair: bool = False) -> Iterator[Checked]:
        """Verifies every copy in every tier, as `check_tier`; with `repair`, frames that fail are quarantined.

        Raises TierUnavailable when a tier cannot be read.
        """
        for tier in self.tier.tiers:
            for checked in check_tier(tier):
                if checked.problem is not None and repair:
                    self._reader.blame(checked.key, CorruptFrame(checked.problem))
                yield checked

    def end_with(self, close: Callable[[], object]) -> None:
        """Has `close` called when the store is closed, before its tiers are."""
        self._closing.callback(close)

    def close(self) -> None:
        """Closes the tiers. Safe to repeat."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
