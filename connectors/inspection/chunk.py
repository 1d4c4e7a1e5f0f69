"""Everything about one chunk, and whether its frame is whole."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from codec import FrameHeader
from connectors.inspection.holdings import (
    Held,
    find_entry,
    gone_meanwhile,
    profile_problem,
    quality_of,
    read_held,
    terms_as_json,
    unique_digits,
)
from kvstore import ChunkKey, ChunkTree, Tier, frame_problem, profile_named


@dataclass(frozen=True)
class NamedProfile:
    """What a chunk is decoded with, and why this store does not have it, if so."""

    fingerprint: str
    problem: str | None


@dataclass(frozen=True)
class Chunk:
    """What is held, what is wrong with it, where its frame lies, and by how many digits it is found.

    `children` are the chunks right behind it.
    """

    held: Held
    problem: str | None
    profile: NamedProfile | None
    record: str | None
    digits: str
    children: list[ChunkKey]


def look_at(tier: Tier, tree: ChunkTree, digits: str) -> Chunk:
    """The chunk whose key begins with `digits`; reads and verifies the whole frame. Raises InvalidRequest."""
    entry = find_entry(tier, tree, digits)
    held, frame = read_held(tier, entry), tier.get(entry.key)
    if held is None or frame is None:
        raise gone_meanwhile(entry)
    problem, record = frame_problem(entry.key, frame), tier.where(entry.key)
    profile = None if held.header is None else _profile(tier, held.header)
    return Chunk(held, problem, profile, record, unique_digits(tree, entry.key), tree.children(entry.key))


def raw_bytes(header: FrameHeader) -> int:
    """What the chunk's keys and values are before they are encoded."""
    return header.num_tokens * header.spec.bytes_per_token


def chunk_as_json(chunk: Chunk, lives_in: str) -> dict[str, Any]:
    """All of it; `lives_in` names its tier."""
    entry, header = chunk.held.entry, chunk.held.header
    return {
        "key": str(entry.key),
        "digits": chunk.digits,
        "lives_in": lives_in,
        "lies_in": chunk.record,
        "parent": str(entry.parent) if entry.parent else None,
        "children": [str(child) for child in chunk.children],
        **terms_as_json(entry),
        "problem": chunk.problem,
        "size_bytes": entry.size_bytes,
        "hits": entry.hits,
        "saved_at_s": entry.saved_at_s,
        "used_at_s": entry.used_at_s,
        "profile": None if chunk.profile is None else asdict(chunk.profile),
        "header": _header_as_json(header) if header else None,
    }


def _profile(tier: Tier, header: FrameHeader) -> NamedProfile | None:
    fingerprint = profile_named(header.codec, header.codec_params)
    return None if fingerprint is None else NamedProfile(fingerprint, profile_problem(tier, fingerprint))


def _header_as_json(header: FrameHeader) -> dict[str, Any]:
    sections = {
        name: {"dtype": str(section.dtype), "shape": list(section.shape), "size_bytes": section.end - section.start}
        for name, section in header.sections.items()
    }
    return {
        "start": header.start,
        "end": header.end,
        "codec": header.codec,
        "codec_params": dict(header.codec_params),
        "quality": quality_of(header),
        "raw_bytes": raw_bytes(header),
        "spec_fingerprint": header.spec_fingerprint,
        "spec": json.loads(header.spec_json),
        "sections": sections,
    }
