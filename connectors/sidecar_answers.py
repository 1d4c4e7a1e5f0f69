"""What a sidecar answers, in the store's own words. Raises ValueError on what no sidecar answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from connectors.sidecar.schemas import Descriptor, DescriptorAnswer, EntryBody, MatchAnswer
from kvstore import ChunkKey, Entry, Terms
from kvstore.tier import InFile


@dataclass(frozen=True)
class RemoteMatch:
    """How many leading chunks are held, run by run of one tier, and the lease on them."""

    held: int
    runs: list[tuple[str, int]]
    lease: str | None = None


@dataclass(frozen=True)
class Described(RemoteMatch):
    """And where the chunks held lie in this host's files; None for one that lies in none."""

    places: Sequence[InFile | None] = ()


@dataclass(frozen=True)
class Layers:
    """Layers [first, end) of a frame: its bytes from `start` on."""

    sections: memoryview
    start: int
    first: int
    end: int


def match_of(answer: MatchAnswer, asked: int) -> RemoteMatch:
    """Of the answer to `asked` keys."""
    if not 0 <= answer.held <= asked:
        raise ValueError(f"{answer.held} of {asked} chunks are said to be held")
    lease = None if answer.lease is None else answer.lease.id
    return RemoteMatch(answer.held, [(run.tier, run.chunks) for run in answer.runs], lease)


def described_of(answer: DescriptorAnswer, asked: int) -> Described:
    match = match_of(answer, asked)
    if len(answer.frames) != match.held:
        raise ValueError(f"{len(answer.frames)} places of {match.held} chunks")
    places = [None if each is None else _place(each) for each in answer.frames]
    return Described(match.held, match.runs, match.lease, places)


def _place(described: Descriptor) -> InFile:
    return InFile(Path(described.path), described.offset, described.size_bytes, bytes.fromhex(described.xxh3))


def entry_of(body: EntryBody) -> Entry:
    expires_at_s = math.inf if body.expires_at_s is None else body.expires_at_s
    return Entry(
        ChunkKey.from_hex(body.key),
        body.size_bytes,
        body.saved_at_s,
        body.used_at_s,
        body.hits,
        Terms(body.tenant, expires_at_s),
        None if body.parent is None else ChunkKey.from_hex(body.parent),
        body.pinned,
    )
