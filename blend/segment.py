"""Segments: runs of a prompt's tokens that are stored on their own and reused wherever they stand.

A segment is one chunk of its own length, the first of a prompt that has nothing before it but `behind`: a few tokens
that stand in front while its KV is computed. They take up the attention that any first token draws, which would
otherwise leave a mark on the segment's own first tokens that does not belong in the middle of a prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kvstore import Identity, InvalidRequest

MOST_TOKENS = 2048
"""A longer run is stored as several segments."""


@dataclass(frozen=True)
class Segment:
    """A text among the parts of a prompt that may be reused."""

    text: str


@dataclass(frozen=True)
class Layout:
    """A prompt's tokens, and which of them are segments: `[start, end)`, ascending, none over another."""

    token_ids: tuple[int, ...]
    segments: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        before = 0
        for start, end in self.segments:
            if not before <= start < end <= len(self.token_ids):
                raise InvalidRequest(
                    f"segment [{start}, {end}) is empty, over the one before it, or outside of a prompt of "
                    f"{len(self.token_ids)} tokens"
                )
            before = end

    def cut(self, most_tokens: int = MOST_TOKENS) -> Layout:
        """The same with every segment of at most so many tokens: longer ones in parts of about equal length."""
        return replace(self, segments=tuple(part for run in self.segments for part in _parts(*run, most_tokens)))

    def tokens(self, segment: tuple[int, int]) -> tuple[int, ...]:
        """The ids of one of its segments."""
        return self.token_ids[slice(*segment)]


def identity_of_segment(identity: Identity, num_tokens: int, behind: Sequence[int] = ()) -> Identity:
    """Who a segment of so many tokens belongs to: whoever asks for a prompt's chunks under `identity`."""
    return replace(identity, chunk_tokens=num_tokens, behind=tuple(behind))


def _parts(start: int, end: int, most_tokens: int) -> Iterator[tuple[int, int]]:
    count = -(-(end - start) // most_tokens)
    for part in range(count):
        yield start + (end - start) * part // count, start + (end - start) * (part + 1) // count
