"""Why a prompt is not found: what is answered, and the identities there are in a store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from codec import FrameHeader, identity_of
from connectors.inspection.holdings import Held, read_held
from kvstore import ChunkKey, ChunkTree, Entry, Identity, InvalidRequest, Tier


@dataclass(frozen=True)
class Answer:
    """`first` is the line that answers; `more` are lines for who wants to know more."""

    first: str
    more: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    """The same for programs."""


def header_of(chunk: Held) -> FrameHeader:
    """Raises InvalidRequest when it is damaged: nothing can be said of the chunk then."""
    if chunk.header is None:
        raise InvalidRequest(f"the frame of chunk {chunk.entry.key} is damaged: see `kvstore verify`")
    return chunk.header


def identity_of_chunk(chunk: Held) -> Identity:
    """Who saved the chunk, as far as its frame and entry say: without a LoRA adapter."""
    header = header_of(chunk)
    codec = identity_of(header.codec, header.codec_params)
    return Identity(header.spec, codec, header.num_tokens, chunk.entry.terms.tenant)


def identities(
    tier: Tier, tree: ChunkTree, tracked: Callable[[Sequence[Entry]], Iterable[Entry]] = iter
) -> list[Identity]:
    """Those of the first chunks held, each once. Reads the headers of all of them, as `tracked` gives them out."""
    found: dict[bytes, Identity] = {}
    for first in tracked([entry for entry in tree.firsts() if entry.parent is None]):
        held = read_held(tier, first)
        if held is not None and held.header is not None:
            of_first = identity_of_chunk(held)
            found[of_first.root] = of_first
    return list(found.values())


def num_held(tree: ChunkTree, keys: Sequence[ChunkKey]) -> int:
    """How many leading keys are held."""
    return next((index for index, key in enumerate(keys) if tree.entry(key) is None), len(keys))


def span(index: int, chunk_tokens: int) -> str:
    """The tokens of a chunk, as people read them."""
    return f"tokens [{index * chunk_tokens}, {(index + 1) * chunk_tokens})"


def named(of: Identity) -> str:
    """An identity in a few words."""
    tenant = f", tenant {of.tenant!r}" if of.tenant else ""
    return f"{of.spec.model} ({of.spec.dtype}, {of.codec}, chunks of {of.chunk_tokens}{tenant})"
