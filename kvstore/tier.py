"""The Tier contract: a place frames live. Beside it the tier that holds nothing, the control in every test."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from codec import DeviceFrame
from kvstore.errors import TierUnavailable
from kvstore.key import ChunkKey
from kvstore.tier_state import TierState

Frame = bytes | bytearray | memoryview
"""The bytes of one frame. A tier never looks inside."""


@dataclass(frozen=True)
class Terms:
    """On what terms a frame is kept: whose it is, and until when (Unix seconds)."""

    tenant: str = ""
    expires_at_s: float = math.inf


NO_TERMS = Terms()


@dataclass(frozen=True, slots=True)
class Entry:
    """What a tier remembers of one frame. Times are Unix seconds."""

    key: ChunkKey
    size_bytes: int
    saved_at_s: float
    used_at_s: float
    hits: int
    terms: Terms = NO_TERMS
    parent: ChunkKey | None = None
    """The chunk before it in its prompt: without that one nobody gets here. None for a first chunk."""
    pinned: bool = False


@dataclass(frozen=True)
class InFile:
    """Where a frame's bytes lie for another process of this host: [offset, offset + size_bytes) of a file.

    What is dropped afterwards is gone from there, or overwritten: whoever reads compares the checksum.
    """

    path: Path
    offset: int
    size_bytes: int
    xxh3: bytes
    """XXH3-128 of the frame, 16 bytes, big-endian as its digest is."""


class Tier(ABC):
    """Frames by key, within a byte budget. Safe in threads.

    A frame that was put is returned byte for byte or not at all: a tier may forget anything at any time
    (that is a miss), and never invents, mixes or cuts. Whoever reads verifies; a tier does not decode.
    A frame whose time is up is not held. Any method may raise TierUnavailable.
    """

    name: str
    durable = False
    """Whether what `put` acknowledges outlives the process, and a loss of power."""
    spared: Iterable[ChunkKey] = ()
    """Keys that are not dropped to make room either; whoever sets it may change what it iterates over."""

    @abstractmethod
    def match(self, keys: Sequence[ChunkKey]) -> int:
        """How many leading keys are held. Metadata only: no frame is read, nothing is counted or aged."""

    @abstractmethod
    def get(self, key: ChunkKey) -> memoryview | None:
        """The frame, read-only and valid for as long as the caller keeps it; None when it is not held."""

    def peek(self, key: ChunkKey, num_bytes: int) -> memoryview | None:
        """The first `num_bytes` of a frame, or all where it is shorter: whoever reads checks the sections in them.

        A tier that cannot read less than a frame reads the frame.
        """
        frame = self.get(key)
        return None if frame is None else frame[:num_bytes]

    def get_on_device(self, key: ChunkKey, device: torch.device) -> DeviceFrame | None:
        """The frame where it lies in that device's memory; None where it does not: `get` may have it then.

        For the stream that is the calling thread's current one; valid for as long as the caller keeps it.
        """
        return None

    @abstractmethod
    def put(
        self, entries: Sequence[tuple[ChunkKey, Frame]], prefix: Sequence[ChunkKey] = (), terms: Terms = NO_TERMS
    ) -> int:
        """Keeps frames, a prompt's first chunk first, and returns how many leading ones are now held.

        `prefix` are the prompt's chunks before them, first one first: at least the last of them, where there
        are any. To make room a tier drops neither those nor the frames being put; what it drops has nothing
        behind it that is held, so that no suffix is left without its prefix. Those it took are kept as durably
        as it promises. Putting a key again replaces its frame. A frame that does not fit, into the budget or
        the quota of its tenant, is declined together with all that follow, since they would be unreachable.
        """

    @abstractmethod
    def delete(self, key: ChunkKey) -> bool:
        """Forgets a frame; False when it was not held."""

    def delete_all(self, keys: Sequence[ChunkKey]) -> int:
        """Forgets frames, each one before those it lies behind, and returns how many were held."""
        return sum(self.delete(key) for key in keys)

    @abstractmethod
    def touch(self, keys: Sequence[ChunkKey]) -> None:
        """Notes that these chunks, a prompt's first one first, were used: the last ages first."""

    @abstractmethod
    def pin(self, keys: Sequence[ChunkKey], pinned: bool = True) -> int:
        """Keeps these chunks, a prompt's first one first, from being dropped to make room, or no longer does.

        Returns how many leading ones are held. Time and damage take pinned frames like all others, and so
        does whoever deletes them.
        """

    @abstractmethod
    def entry(self, key: ChunkKey) -> Entry | None:
        """What is remembered of a frame; None when it is not held. Counts and ages nothing."""

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """Every frame held, in no particular order."""

    def where(self, key: ChunkKey) -> str | None:
        """Where in the tier a frame lies, for people to read; None when it is not held, or that says nothing."""
        return None

    def in_file(self, key: ChunkKey) -> InFile | None:
        """Where another process finds the frame; None when it is not held, or lies in no file. Reads no frame."""
        return self.in_files([key])[0]

    def in_files(self, keys: Sequence[ChunkKey]) -> list[InFile | None]:
        """As `in_file`, of each."""
        return [None] * len(keys)

    @property
    @abstractmethod
    def size_bytes(self) -> int:
        """Bytes of all frames held."""

    @property
    def capacity_bytes(self) -> int | None:
        """What all frames held may weigh together; None where the tier sets no bound of its own."""
        return None

    @property
    def num_chunks(self) -> int | None:
        """How many frames are held; None where counting them takes a walk."""
        return None

    def states(self) -> list[TierState]:
        """How it does, in each of the places where it keeps frames. Raises nothing: a failure is one of the answers."""
        try:
            size_bytes, num_chunks, problem = self.size_bytes, self.num_chunks, None
        except TierUnavailable as error:
            size_bytes, num_chunks, problem = None, None, str(error)
        return [
            TierState(
                self.name,
                durable=self.durable,
                size_bytes=size_bytes,
                capacity_bytes=self.capacity_bytes,
                chunks=num_chunks,
                problem=problem,
            )
        ]

    def quarantine(self, key: ChunkKey, reason: str) -> None:
        """Takes a frame that failed a check out of service, for good."""
        self.delete(key)

    def rejection(self, key: ChunkKey) -> str | None:
        """Why a frame was taken out of service, where the tier remembers that."""
        return None

    def quarantined(self) -> dict[str, dict[str, str | float]]:
        """Frames taken out of service, by key in hex: `reason`, and `at_s` in Unix seconds. Those it remembers."""
        return {}

    def keep_profile(self, fingerprint: str, content: bytes) -> bool:
        """Keeps a codec's profile as durably as the frames that need it; False when this tier keeps none.

        `fingerprint` is the SHA-256 of the content in hex. Safe to repeat.
        """
        return False

    def profile(self, fingerprint: str) -> bytes | None:
        """The profile of that fingerprint, checked against it; None when it is not held.

        Raises MissingProfile, saying where, when what is held under that name is damaged.
        """
        return None

    def profiles(self) -> list[str]:
        """Fingerprints of the profiles held, the newest first."""
        return []

    def close(self) -> None:
        """Releases what the tier holds open. Safe to repeat; no other call may follow."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class ReadOnlyTier(Tier):
    """Declines whatever would change what is held."""

    def put(
        self, entries: Sequence[tuple[ChunkKey, Frame]], prefix: Sequence[ChunkKey] = (), terms: Terms = NO_TERMS
    ) -> int:
        return 0

    def delete(self, key: ChunkKey) -> bool:
        return False

    def touch(self, keys: Sequence[ChunkKey]) -> None:
        return

    def pin(self, keys: Sequence[ChunkKey], pinned: bool = True) -> int:
        return 0


class NoTier(ReadOnlyTier):
    """Holds nothing: every get misses, every put is declined."""

    name = "none"

    def match(self, keys: Sequence[ChunkKey]) -> int:
        return 0

    def get(self, key: ChunkKey) -> memoryview | None:
        return None

    def entry(self, key: ChunkKey) -> Entry | None:
        return None

    def entries(self) -> Iterator[Entry]:
        return iter(())

    @property
    def size_bytes(self) -> int:
        return 0
