"""KVStore: save, match, load, check. Tokens and KV arrays in, KV arrays out; everything between is here.

The two paths:

    save   tokens, KV -> keys -> skip what is held -> encode -> frames -> tier
    match  tokens -> keys -> how many leading chunks are held (metadata only)
    load   match -> frames -> verify -> decode, in order; stops at the first chunk gone or damaged

A profile that the codec needs is kept by the tiers before the first frame that needs it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from codec import (
    Codec,
    CorruptFrame,
    Frame,
    KVArray,
    KVSpec,
    SpecMismatch,
    UnknownCodec,
    decode_chunk,
    encode_chunk,
    registered,
)
from kvstore.check import Checked, check_tier, require_place
from kvstore.errors import InvalidRequest, MissingProfile
from kvstore.key import ChunkKey, Identity, LoRA, Multimodal, chunk_keys
from kvstore.metrics import Metrics
from kvstore.profiles import find_profile, profile_named
from kvstore.tier import Terms, Tier
from kvstore.tiered import Tiers

_log = logging.getLogger(__name__)
DEFAULT_CHUNK_TOKENS = 128
_SAVE_GROUP_BYTES = 32 << 20  # encoded frames are handed to the tier in groups of this size


@dataclass(frozen=True)
class PrefixMatch:
    """The leading chunks of a prompt that were held when it was asked. Nothing is reserved by it."""

    identity: Identity
    keys: tuple[ChunkKey, ...]

    @property
    def num_tokens(self) -> int:
        return len(self.keys) * self.identity.chunk_tokens

    def first(self, num_chunks: int) -> PrefixMatch:
        """The same match, cut to its first `num_chunks` chunks."""
        return replace(self, keys=self.keys[:num_chunks])


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
    ) -> None:
        """`tiers` fastest first; they are closed with the store. What is saved is kept for `ttl_s` at most.

        Raises InvalidRequest on `chunk_tokens` < 1, MissingProfile when the codec's profile is not registered.
        """
        if chunk_tokens <= 0:
            raise InvalidRequest(f"chunk_tokens is {chunk_tokens}; a chunk needs at least one token")
        self.codec, self.chunk_tokens = codec, chunk_tokens
        self._ttl_s, self._clock = ttl_s, clock
        self.metrics = metrics or Metrics()
        self.tier = Tiers(tiers, self.metrics)
        fingerprint = profile_named(codec.id, codec.params())
        self._profile = None if fingerprint is None else registered(fingerprint)
        self._profile_kept = False

    def identity(self, spec: KVSpec, tenant: str = "", lora: LoRA | None = None) -> Identity:
        """Who asks, for which KV, in this store's codec and chunk size."""
        return Identity(spec, self.codec.identity(), self.chunk_tokens, tenant, lora)

    def match(self, identity: Identity, token_ids: Sequence[int], multimodal: Sequence[Multimodal] = ()) -> PrefixMatch:
        """The leading full chunks of the prompt that are held now. Reads no frame and changes nothing."""
        keys = chunk_keys(identity, token_ids, multimodal)
        return PrefixMatch(identity, tuple(keys[: self.tier.match(keys)]))

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
        self._require_own(match.identity)
        if out.spec != match.identity.spec or out.num_tokens < match.num_tokens:
            raise InvalidRequest(f"out holds {out.num_tokens} tokens of {out.spec.model}, the match {match.num_tokens}")
        loaded = 0
        for index, (key, data) in enumerate(_read_ahead(self.tier, match.keys)):
            start = index * self.chunk_tokens
            if not self._load_chunk(key, data, start, out.tokens(start, start + self.chunk_tokens)):
                break
            loaded += 1
        self.tier.touch(match.keys[:loaded])
        self.metrics.count("chunks_loaded", loaded)
        self.metrics.count("tokens_loaded", loaded * self.chunk_tokens)
        return loaded * self.chunk_tokens

    def _load_chunk(self, key: ChunkKey, data: memoryview | None, start: int, out: KVArray) -> bool:
        if data is None:
            self.metrics.count("chunks_vanished")
            return False
        try:
            frame = Frame(data)
            require_place(frame, key, start)
            if frame.header.codec != self.codec.id:
                raise CorruptFrame(f"the frame is coded with {frame.header.codec}, asked for was {self.codec.id}")
            find_profile(self.tier, frame.header.codec, frame.header.codec_params)
            decode_chunk(frame, out)
        except MissingProfile as error:  # nothing is wrong with the frame: left as it is
            self.metrics.count("profiles_missing")
            _log.warning("chunk %s cannot be decoded: %s", key, error)
            return False
        except (CorruptFrame, SpecMismatch, UnknownCodec) as error:
            self._quarantine(key, error)
            return False
        return True

    def _keep_profile(self) -> None:
        if self._profile is not None and not self._profile_kept:
            self._profile_kept = self.tier.keep_profile(self._profile.fingerprint, self._profile.content)

    def save(
        self,
        identity: Identity,
        token_ids: Sequence[int],
        kv: KVArray,
        start: int = 0,
        multimodal: Sequence[Multimodal] = (),
    ) -> Saved:
        """Stores the full chunks of a prompt that are not held yet; durable, as far as the tier is, on return.

        `kv` holds the prompt's tokens from position `start`, a multiple of the chunk size, on; `token_ids`
        is the whole prompt from position 0. When a chunk before `start` is not held, nothing is saved: it
        could not be reached. Safe to repeat. Raises InvalidRequest on a misaligned start, and when the
        identity or `kv` is of another codec, chunk size or spec.
        """
        self._require_own(identity)
        if start % self.chunk_tokens or kv.spec != identity.spec:
            raise InvalidRequest(f"start {start} is not a multiple of {self.chunk_tokens}, or kv is of another spec")
        keys = chunk_keys(identity, token_ids[: start + kv.num_tokens], multimodal)
        held = self.tier.match(keys)
        reachable = held >= start // self.chunk_tokens
        terms = Terms(identity.tenant, self._clock() + self._ttl_s)
        saved = self._save_chunks(keys, held, kv, start, terms) if reachable else 0
        result = Saved(saved, held, len(keys) - held - saved)
        self.metrics.count("chunks_saved", result.saved)
        self.metrics.count("chunks_held", result.held)
        self.metrics.count("chunks_declined", result.declined)
        return result

    def _save_chunks(self, keys: Sequence[ChunkKey], first: int, kv: KVArray, start: int, terms: Terms) -> int:
        self._keep_profile()
        saved, group = 0, []
        for index in range(first, len(keys)):
            begin = index * self.chunk_tokens - start
            chunk = kv.tokens(begin, begin + self.chunk_tokens)
            group.append((keys[index], encode_chunk(self.codec, chunk, str(keys[index]), begin + start)))
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
                    self._quarantine(checked.key, CorruptFrame(checked.problem))
                yield checked

    def _quarantine(self, key: ChunkKey, error: Exception) -> None:
        self.metrics.count("chunks_corrupt")
        _log.warning("chunk %s is taken out of service: %s", key, error)
        self.tier.quarantine(key, str(error))

    def close(self) -> None:
        """Closes the tiers. Safe to repeat."""
        self.tier.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _read_ahead(tier: Tier, keys: Sequence[ChunkKey]) -> Iterator[tuple[ChunkKey, memoryview | None]]:
    """Each key with its frame; the next frame is read while the caller decodes this one."""
    with ThreadPoolExecutor(1, "kvstore-read") as reader:
        ahead = [reader.submit(tier.get, key) for key in keys[:1]]
        for key, following in zip(keys, [*keys[1:], None], strict=True):
            data = ahead.pop().result()
            if following is not None:
                ahead.append(reader.submit(tier.get, following))
            yield key, data
