"""ChunkReader: one chunk's frame out of the tiers, checked, decoded into its room, and what is wrong with it said."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

from codec import (
    Codec,
    CorruptFrame,
    DeviceFrame,
    Frame,
    FrameHeader,
    KVArray,
    SpecMismatch,
    UnknownCodec,
    bytes_needed,
    decode_chunk,
    decode_chunk_on_device,
    decode_layers,
    read_header,
)
from kvstore.check import require_place
from kvstore.cost import CostModel, Held
from kvstore.errors import MissingProfile
from kvstore.key import ChunkKey
from kvstore.match import PrefixMatch
from kvstore.metrics import Metrics
from kvstore.profiles import find_profile
from kvstore.tiered import Tiers

_log = logging.getLogger(__name__)
WRONG = (CorruptFrame, SpecMismatch, UnknownCodec, MissingProfile)
"""What reading a chunk may raise: `blame` sorts them."""


class ChunkReader:
    """Of one codec's frames. Measures what reading and decoding take. Safe in threads."""

    def __init__(self, tier: Tiers, codec: Codec, metrics: Metrics, cost: CostModel) -> None:
        self._tier, self._codec, self._metrics, self._cost = tier, codec, metrics, cost
        self.shares: dict[str, float] = {}
        """Of a frame's bytes, by the quality that takes so much, finest first; nothing before a frame was read."""

    def held(self, match: PrefixMatch) -> list[Held]:
        """The match's chunks, each run of one tier with the size of its first frame: they are about alike."""
        held: list[Held] = []
        for key, tier in zip(match.keys, match.tiers, strict=True):
            if not held or held[-1].tier != tier:
                entry = self._tier.entry(key)
                size_bytes = entry.size_bytes if entry else 1
                shares = self.shares or {self._codec.id: 1.0}
                held.append(Held(tier, {name: math.ceil(size_bytes * share) for name, share in shares.items()}))
            else:
                held.append(held[-1])
        return held

    def quality(self, match: PrefixMatch, held: Sequence[Held]) -> str | None:
        """The finest at which these chunks, all that are left, come in time, else the coarsest; None is the full one.

        Asked for every chunk, it follows a bandwidth that changes (CacheGen, arXiv 2310.07240, section 5.3).
        """
        if not held:
            return None
        left_s, model = match.until_s - time.monotonic(), match.identity.spec.fingerprint()
        for quality in self.shares:
            if self._cost.loading_s(model, held, quality, match.identity.chunk_tokens) <= left_s:
                break
        return None if quality == self._codec.qualities[0] else quality

    def read(self, key: ChunkKey, room: KVArray, quality: str | None = None) -> memoryview | DeviceFrame | None:
        """A chunk's frame, on the device where there is room for its KV if a tier has it there; or its first bytes."""
        if quality is not None:
            return self._begun(key, quality)
        return self._tier.get_on_device(key, room.device) or self._tier.get(key)

    def _begun(self, key: ChunkKey, quality: str) -> memoryview | None:
        """As much of a frame as that quality takes."""
        entry = self._tier.entry(key)
        begun = self._tier.peek(key, math.ceil(entry.size_bytes * self.shares[quality])) if entry else None
        if begun is None or (needed := bytes_needed(read_header(begun), quality)) <= len(begun):
            return begun
        return self._tier.peek(key, needed)

    def decode(
        self,
        key: ChunkKey,
        start: int,
        data: memoryview | DeviceFrame | None,
        out: KVArray,
        quality: str | None = None,
        to: int | None = None,
    ) -> bool:
        """A chunk into `out`, which has its length; False when it is gone. Raises `WRONG` when it is not whole.

        On the device, when its frame lies there and can be decoded there. Below the full quality `data` are the
        first bytes of its frame.
        """
        if data is None:
            return False
        started_s = time.perf_counter()
        frame = data if isinstance(data, DeviceFrame) else Frame(data) if quality is None else Frame.begun(data)
        self._require(frame, key, start)
        if isinstance(frame, Frame):
            decode_chunk(frame, out, to, quality)
        elif not decode_chunk_on_device(frame, out, to):
            return self.decode(key, start, self._tier.get(key), out, to=to)
        self._measured(frame.header, out, quality, time.perf_counter() - started_s)
        return True

    def begin(self, key: ChunkKey, start: int, data: memoryview, out: KVArray, to: int) -> Iterator[int] | None:
        """As `decode`, step by step: yields how many layers are there. The whole frame is checked before the first.

        None when that finds damage. What a codec finds that no encoder writes is raised when its layer comes.
        """
        try:
            frame = Frame(data)
            self._require(frame, key, start)
            frame.verify()
        except WRONG as error:
            self.blame(key, error)
            return None
        return self._steps(key, frame, out, to)

    def _steps(self, key: ChunkKey, frame: Frame, out: KVArray, to: int) -> Iterator[int]:
        layers, taken_s = decode_layers(frame, out, to), 0.0
        while True:
            started_s = time.perf_counter()
            try:
                num_layers = next(layers, None)
            except WRONG as error:
                self.blame(key, error)
                raise
            taken_s += time.perf_counter() - started_s
            if num_layers is None:
                return self._measured(frame.header, out, None, taken_s)
            yield num_layers

    def _require(self, frame: Frame | DeviceFrame, key: ChunkKey, start: int) -> None:
        require_place(frame, key, start)
        if frame.header.codec != self._codec.id:
            raise CorruptFrame(f"the frame is coded with {frame.header.codec}, asked for was {self._codec.id}")
        find_profile(self._tier, frame.header.codec, frame.header.codec_params)

    def _measured(self, header: FrameHeader, out: KVArray, quality: str | None, taken_s: float) -> None:
        if not self.shares:  # of the first frame that is decoded: others are about alike
            needed = {quality: bytes_needed(header, quality) for quality in self._codec.qualities}
            self.shares = {quality: num_bytes / header.num_bytes for quality, num_bytes in needed.items()}
        name = quality or next(iter(self.shares), self._codec.id)
        self._cost.decoded(out.spec.fingerprint(), name, out.num_tokens, taken_s)

    def delivered(self, key: ChunkKey, decoding: Future[bool]) -> bool:
        """Waits for a chunk. Whatever is wrong with it is counted, and damage taken out of service."""
        try:
            if decoding.result():
                return True
            self._metrics.count("chunks_vanished")
        except WRONG as error:
            self.blame(key, error)
        return False

    def blame(self, key: ChunkKey, error: Exception) -> None:
        """Counts what was wrong with a chunk; unless only its profile is missing, it is taken out of service."""
        if isinstance(error, MissingProfile):
            self._metrics.count("profiles_missing")
            _log.warning("chunk %s cannot be decoded: %s", key, error)
            return
        self._metrics.count("chunks_corrupt")
        _log.warning("chunk %s is taken out of service: %s", key, error)
        self._tier.quarantine(key, str(error))
