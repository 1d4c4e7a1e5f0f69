"""The RemoteStore contract: values by key on other machines, asked from one event loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True)
class Caps:
    """What an engine can do."""

    max_value_bytes: int
    expires: bool
    """Whether the engine itself drops a value whose time is up; else whoever reads it looks."""
    evicts: bool
    """Whether the engine drops values to make room when it is set up to."""


@dataclass(frozen=True)
class Health:
    """What an engine says of itself; None where it does not say."""

    version: str
    used_bytes: int | None = None
    capacity_bytes: int | None = None
    num_values: int | None = None
    """In all namespaces together."""


@dataclass(frozen=True)
class Listed:
    key: str
    size_bytes: int


class RemoteStore(ABC):
    """Values by key, in a namespace of their own: two of them on one server never see each other's.

    A key is 1 to 200 ASCII letters, digits, `-` and `/`; a value has at least one byte and is there in whole or not
    at all, as far as the engine promises that: whoever reads, verifies. An engine may drop a value at any time.

    What is not there is a miss, and said so; TierUnavailable is raised when the engine does not answer, refuses or
    makes no sense, so that nobody takes a failure for a miss. Nothing is tried twice. To be used in one event loop,
    by many tasks at once; a call may be cancelled at any moment, and later calls are none the worse. Connects when
    it is first asked, and again whenever it must; timeouts of its own end a call that nobody cancels.
    """

    caps: Caps
    url: str
    """Where it is, for people to read: without secrets."""

    @abstractmethod
    async def sizes(self, keys: Sequence[str]) -> list[int]:
        """Bytes of the leading values that are there, up to the first that is not. In one round trip."""

    @abstractmethod
    async def get_into(self, key: str, buffer: memoryview) -> bool:
        """Reads the value into `buffer`, which is writable, one-dimensional bytes and as long as the value.

        False when it is not there, or of another length: the buffer may have been written to.
        """

    @abstractmethod
    async def peek(self, keys: Sequence[str], num_bytes: int) -> list[bytes | None]:
        """The first `num_bytes` (at least 1) of each value, all where it is shorter; None where it is not there."""

    @abstractmethod
    async def put(self, key: str, parts: Sequence[Buffer], ttl_s: float | None = None) -> bool:
        """Stores `parts`, back to back, unless something is there; whether it did. Safe to repeat.

        After `ttl_s` seconds, more than 0, the value is dropped where the engine can. Of several that put one key at
        once, exactly one is told True.
        """

    @abstractmethod
    async def delete(self, keys: Sequence[str]) -> None:
        """Forgets values, whether they are there or not."""

    @abstractmethod
    def listed(self, start: str = "") -> AsyncIterator[Listed]:
        """Every value whose key begins so, in no particular order. What is put or deleted meanwhile may be missing."""

    @abstractmethod
    async def health(self) -> Health:
        """Asks the engine something that takes no time: it answers."""

    @abstractmethod
    async def aclose(self) -> None:
        """Releases what is held open. Safe to repeat; no other call may follow."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()
