"""Checking what a tier holds: every frame against its checksums, and against what the index says of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from codec import CorruptFrame, DeviceFrame, Frame, FrameHeader
from kvstore.key import ChunkKey
from kvstore.profiles import profile_named
from kvstore.selection import ChunkTree
from kvstore.tier import Entry, Tier


@dataclass(frozen=True)
class Checked:
    """The verdict on one tier's copy of a frame; `problem` is None when it is whole."""

    key: ChunkKey
    size_bytes: int
    problem: str | None
    tier: str
    profile: str | None = None
    """Fingerprint of the profile that a whole frame is decoded with."""
    reachable: bool = True
    """False: a chunk before it is gone or damaged, so it is of no use until that one is saved again."""


def check_tier(tier: Tier) -> Iterator[Checked]:
    """Verifies every frame held, each prompt from its beginning on; frames that go meanwhile are left out.

    An entry is whole when its frame is there, of the size it says, sound under its key, and continues the
    chunk that the entry names as its parent.
    """
    headers: dict[ChunkKey | None, tuple[int, str]] = {}
    reachable: set[ChunkKey | None] = {None}
    for entry in ChunkTree(tier.entries()).prefix_first():
        try:
            header = _checked_header(tier, entry, headers)
        except CorruptFrame as error:
            yield Checked(entry.key, entry.size_bytes, str(error), tier.name)
            continue
        if entry.parent in reachable:
            reachable.add(entry.key)
        if header is not None:
            headers[entry.key] = header.end, header.spec_fingerprint
            profile = profile_named(header.codec, header.codec_params)
            yield Checked(entry.key, header.num_bytes, None, tier.name, profile, entry.key in reachable)


def _checked_header(tier: Tier, entry: Entry, headers: dict[ChunkKey | None, tuple[int, str]]) -> FrameHeader | None:
    """Of a whole frame; None when it is gone. Raises CorruptFrame; `headers` say where those before it ended."""
    data, entry_now = tier.get(entry.key), tier.entry(entry.key)
    if data is None and (reason := tier.rejection(entry.key)) is not None:
        raise CorruptFrame(reason)
    if entry_now is None:
        return None
    if data is None:
        raise CorruptFrame("the index names a frame that is not there")
    header = _verified(entry.key, data).header
    if len(data) != entry_now.size_bytes:
        raise CorruptFrame(f"the frame is {len(data)} bytes long, the index says {entry_now.size_bytes}")
    if (entry.parent is None) != (header.start == 0):
        before = "nothing" if entry.parent is None else "a chunk"
        raise CorruptFrame(f"the frame begins at token {header.start}, the index says that {before} lies before it")
    if headers.get(entry.parent, begins := (header.start, header.spec_fingerprint)) != begins:
        raise CorruptFrame("the frame does not continue the chunk that the index says lies before it")
    return header


def frame_problem(key: ChunkKey, data: bytes | memoryview) -> str | None:
    """What is wrong with the frame held under `key`, every checksum verified; None when it is whole."""
    try:
        _verified(key, data)
    except CorruptFrame as error:
        return str(error)
    return None


def require_place(frame: Frame | DeviceFrame, key: ChunkKey, start: int) -> None:
    """A frame under another key, or of other positions, is right somewhere else and wrong here: CorruptFrame."""
    if frame.header.key != str(key) or frame.header.start != start:
        raise CorruptFrame(f"the frame is chunk {frame.header.key[:12]} at {frame.header.start}, not {start}")


def _verified(key: ChunkKey, data: bytes | memoryview) -> Frame:
    frame = Frame(data)
    require_place(frame, key, frame.header.start)
    frame.verify()
    return frame
