"""Exporting: sound frames and the profiles they need, into an archive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from codec import read_header
from kvstore import Entry, MissingProfile, Tier, frame_problem, profile_named
from kvstore.archive import ArchiveWriter


@dataclass
class Exported:
    """What was written, what was damaged and why, and which profiles the store does not have whole."""

    chunks: list[Entry] = field(default_factory=list)
    damaged: dict[Entry, str] = field(default_factory=dict)
    absent_profiles: list[str] = field(default_factory=list)


def export_chunks(tier: Tier, entries: Iterable[Entry], archive: ArchiveWriter, exported: Exported) -> Iterator[Entry]:
    """Writes one frame after the other, and gives out the entry of each when that is done; profiles last.

    What is not held any more is left out. `exported` is told what happened.
    """
    needed: dict[str, None] = {}  # fingerprints, in the order they are met
    for entry in entries:
        frame = tier.get(entry.key)
        problem = None if frame is None else frame_problem(entry.key, frame)
        if problem is not None:
            exported.damaged[entry] = problem
            archive.leave_out(entry, problem)
        elif frame is not None:
            archive.add_chunk(entry, frame)
            exported.chunks.append(entry)
            if fingerprint := _profile_of(frame):
                needed[fingerprint] = None
        yield entry
    exported.absent_profiles += [name for name in needed if not _add_profile(archive, tier, name)]


def _profile_of(frame: memoryview) -> str | None:
    header = read_header(frame)
    return profile_named(header.codec, header.codec_params)


def _add_profile(archive: ArchiveWriter, tier: Tier, fingerprint: str) -> bool:
    try:
        content = tier.profile(fingerprint)
    except MissingProfile:
        return False
    if content is not None:
        archive.add_profile(fingerprint, content)
    return content is not None
