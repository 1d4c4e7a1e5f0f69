"""What a store directory holds, read from outside: index entries, the headers of their frames, profiles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from codec import CorruptFrame, FrameHeader, Profile, UnsupportedRotary, read_header
from connectors.settings import load_settings
from kvstore import DiskReader, DiskTier, Entry, MissingProfile, TierUnavailable

_PEEK_BYTES = 32 << 10  # the header of a frame of 60 layers; a longer one costs a second read


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
