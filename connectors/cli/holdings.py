"""What a store directory holds, read from outside: index entries, the headers of their frames, profiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codec import CorruptFrame, FrameHeader, Lossless, Profile, UnsupportedRotary, read_header
from connectors.settings import load_settings
from kvstore import (
    BlockingWriter,
    ChunkKey,
    ChunkTree,
    DiskReader,
    DiskTier,
    Entry,
    InvalidRequest,
    MissingProfile,
    TierUnavailable,
)
from kvstore.key import KEY_BYTES

_PEEK_BYTES = 32 << 10  # the header of a frame of 60 layers; a longer one costs a second read
_FEWEST_DIGITS = 8  # of a key: fewer are unique today and ambiguous tomorrow
_SHOWN = 4  # how many keys an ambiguous prefix is answered with


@dataclass(frozen=True)
class Held:
    """One chunk: what the index knows, and what its frame says (None when its header is damaged)."""

    entry: Entry
    header: FrameHeader | None

    @property
    def model(self) -> str:
        return self.header.spec.model if self.header else "(damaged)"

    @property
    def codec(self) -> str:
        return self.header.codec if self.header else ""


def store_path(store: Path | None) -> Path:
    """The directory asked for, or the one in the settings."""
    return store or load_settings().store.path


def open_reader(path: Path) -> DiskReader:
    """A reader of the store in `path`; the writer, if there is one, is not disturbed."""
    try:
        return DiskReader(path)
    except TierUnavailable as error:
        if path.is_dir() and any(path.iterdir()):
            raise TierUnavailable(f"the store in {path} cannot be read: {error}") from error
        raise TierUnavailable(
            f"there is no store in {path}; name one with --store, or save to this one first"
        ) from error


def open_writer(path: Path) -> DiskTier:
    """The writer of the store in `path`, with room for everything held: looking after a store evicts nothing.

    Raises InvalidRequest when another process writes it.
    """
    with open_reader(path) as reader:
        size_bytes = reader.size_bytes
    return _writer(path, max(size_bytes, load_settings().disk.capacity_bytes, 1))


def create_writer(path: Path) -> DiskTier:
    """As `open_writer`, of a new store where `path` is empty or not there, within the budget of the settings."""
    if path.is_dir() and any(path.iterdir()):
        return open_writer(path)
    return _writer(path, max(load_settings().disk.capacity_bytes, 1))


def _writer(path: Path, capacity_bytes: int) -> DiskTier:
    try:
        return DiskTier(path, capacity_bytes, quotas=load_settings().quotas, evicts=False)
    except BlockingWriter as error:
        raise InvalidRequest(
            f"another process is writing {path}, and only the writer may change it: stop it and run this again"
        ) from error


def find_entry(reader: DiskReader, tree: ChunkTree, digits: str) -> Entry:
    """The one chunk whose key begins with `digits`. Raises InvalidRequest, which says what to do."""
    digits = digits.lower()
    if len(digits) < _FEWEST_DIGITS:
        raise InvalidRequest(f"{digits!r} is too short for a key: give {_FEWEST_DIGITS} digits or more")
    found = [entry for entry in tree.prefix_first() if str(entry.key).startswith(digits)]
    if len(found) == 1:
        return found[0]
    if found:
        keys = ", ".join(sorted(str(entry.key)[: len(digits) + 8] for entry in found)[:_SHOWN])
        raise InvalidRequest(f"{len(found)} keys begin with {digits!r}, such as {keys}: give more digits")
    for key, note in reader.quarantined().items():
        if key.startswith(digits):
            raise InvalidRequest(f"chunk {key} was damaged and is dropped: {note['reason']}")
    raise InvalidRequest(f"no chunk has a key that begins with {digits!r}; `kvstore ls` lists those there are")


def unique_digits(tree: ChunkTree, key: ChunkKey) -> str:
    """The fewest first digits of a key that `find_entry` takes for it."""
    beginnings = (str(key)[:digits] for digits in range(_FEWEST_DIGITS, 2 * KEY_BYTES + 1))
    others = [str(entry.key) for entry in tree.prefix_first() if entry.key != key]
    return next(digits for digits in beginnings if not any(other.startswith(digits) for other in others))


def quality_of(header: FrameHeader) -> str:
    """What its codec may lose: a lossy codec's level by its name there, "exact" where nothing is lost."""
    params = header.codec_params
    named = params.get("quality", params.get("level"))
    return named if isinstance(named, str) else "exact" if header.codec == Lossless.id else "the codec's one"


def terms_as_json(entry: Entry) -> dict[str, Any]:
    """Whose the chunk is and how long it stays."""
    expires_at_s = entry.terms.expires_at_s
    return {
        "tenant": entry.terms.tenant,
        "pinned": entry.pinned,
        "expires_at_s": None if expires_at_s == math.inf else expires_at_s,
    }


def read_held(reader: DiskReader, entry: Entry) -> Held | None:
    """The chunk of that entry, its frame's header checked; None when it was evicted since it was listed."""
    for num_bytes in (_PEEK_BYTES, entry.size_bytes):
        data = reader.peek(entry.key, num_bytes)
        if data is None:
            return None
        header = _sound_header(data)
        if header is not None and header.key == str(entry.key):
            return Held(entry, header)
    return Held(entry, None)


def profile_problem(tier: DiskReader | DiskTier, fingerprint: str) -> str | None:
    """Why frames of that profile cannot be decoded by who has this directory alone; None when they can."""
    try:
        content = tier.profile(fingerprint)
        if content is None:
            return "this store does not hold it"
        Profile.from_content(content)
    except (MissingProfile, CorruptFrame, UnsupportedRotary) as error:
        return str(error)
    return None


def _sound_header(data: memoryview) -> FrameHeader | None:
    try:
        header = read_header(data)
        _ = header.spec
    except CorruptFrame:
        return None
    return header
