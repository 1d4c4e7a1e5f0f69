"""What a tier holds, looked at from outside: index entries, the headers of their frames, profiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from codec import CorruptFrame, FrameHeader, Lossless, Profile, UnsupportedRotary, read_header
from kvstore import ChunkKey, ChunkTree, Entry, InvalidRequest, MissingProfile, Tier
from kvstore.key import KEY_BYTES

_PEEK_BYTES = 32 << 10  # the header of a frame of 60 layers; a longer one costs a second read
_FEWEST_DIGITS = 8  # of a key: fewer are unique today and ambiguous tomorrow
_SHOWN = 4  # how many keys an ambiguous prefix is answered with


class NotHeld(InvalidRequest):
    """No chunk is held under such a key: say another one."""


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


def find_entry(tier: Tier, tree: ChunkTree, digits: str) -> Entry:
    """The one chunk whose key begins with `digits`. Raises InvalidRequest or NotHeld, which say what to do."""
    digits = digits.lower()
    if len(digits) < _FEWEST_DIGITS:
        raise InvalidRequest(f"{digits!r} is too short for a key: give {_FEWEST_DIGITS} digits or more")
    found = [entry for entry in tree.prefix_first() if str(entry.key).startswith(digits)]
    if len(found) == 1:
        return found[0]
    if found:
        keys = ", ".join(sorted(str(entry.key)[: len(digits) + 8] for entry in found)[:_SHOWN])
        raise InvalidRequest(f"{len(found)} keys begin with {digits!r}, such as {keys}: give more digits")
    for key, note in tier.quarantined().items():
        if key.startswith(digits):
            raise NotHeld(f"chunk {key} was damaged and is dropped: {note['reason']}")
    raise NotHeld(f"no chunk has a key that begins with {digits!r}; `kvstore ls` lists those there are")


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


def read_held(tier: Tier, entry: Entry) -> Held | None:
    """The chunk of that entry, its frame's header checked; None when it was evicted since it was listed."""
    for num_bytes in (_PEEK_BYTES, entry.size_bytes):
        data = tier.peek(entry.key, num_bytes)
        if data is None:
            return None
        header = _sound_header(data)
        if header is not None and header.key == str(entry.key):
            return Held(entry, header)
    return Held(entry, None)


def find_held(tier: Tier, tree: ChunkTree, digits: str) -> Held:
    """As `find_entry`, with what its frame says."""
    entry = find_entry(tier, tree, digits)
    held = read_held(tier, entry)
    if held is None:
        raise gone_meanwhile(entry)
    return held


def gone_meanwhile(entry: Entry) -> NotHeld:
    """What is raised about a chunk that was listed and cannot be read any more."""
    return NotHeld(f"chunk {entry.key} was evicted while it was looked at")


def profile_problem(tier: Tier, fingerprint: str) -> str | None:
    """Why frames of that profile cannot be decoded by who has this store alone; None when they can."""
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
