"""What the routes answer that say what is held: the same JSON as the command line's."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from connectors.sidecar.schemas import Given, whole

Digits = Annotated[
    str,
    StringConstraints(pattern="^[0-9a-fA-F]{1,64}$"),
    WithJsonSchema({"type": "string", "pattern": "^[0-9a-fA-F]{8,64}$"}),  # fewer are answered in words
]
"""The first digits of a key: 8 or more, as many as are unique."""
TokenId = Annotated[int, Field(strict=True, ge=0, lt=1 << 32), BeforeValidator(whole)]
_MOST_TOKENS = 1 << 20


class TermsBody(BaseModel):
    tenant: str
    pinned: bool
    expires_at_s: float | None = Field(description="Unix seconds; null for never.")


class ListedChunk(TermsBody):
    """A chunk, as `kvstore ls` has it: null is what a damaged header does not say."""

    key: str
    model: str | None
    start: int | None
    end: int | None
    codec: str | None
    size_bytes: int
    hits: int
    saved_at_s: float
    used_at_s: float
    damaged: bool


class ProfileBody(BaseModel):
    fingerprint: str
    problem: str | None = Field(description="Why this store does not have it, if so.")


class ShownChunk(TermsBody):
    """A chunk, as `kvstore show` has it."""

    key: str
    digits: str = Field(description="The fewest that it is found by.")
    lives_in: str
    lies_in: str | None
    parent: str | None
    children: list[str]
    problem: str | None = Field(description="What is wrong with its frame; null when it is whole.")
    size_bytes: int
    hits: int
    saved_at_s: float
    used_at_s: float
    profile: ProfileBody | None
    header: dict[str, Any] | None


class Tokens(Given):
    """A prompt."""

    token_ids: Annotated[list[TokenId], Field(max_length=_MOST_TOKENS)]


class WhyMissRequest(Given):
    """Two of them: keys, by their first digits, or prompts."""

    a: Digits | Tokens
    b: Digits | Tokens


class MissAnswer(BaseModel):
    """A sentence, and what it says for programs."""

    model_config = ConfigDict(extra="allow")

    answer: str


class PrefixBody(BaseModel):
    """A prompt's first chunk, and what is held with it and behind it."""

    key: str
    model: str
    tenant: str
    hits: int
    chunks: int
    size_bytes: int


class QuarantinedChunk(BaseModel):
    key: str
    reason: str
    at_s: float = Field(description="Unix seconds.")


class TierBody(BaseModel):
    """How a tier does, or the replica behind a remote one. Null is what is not known."""

    name: str
    place: str | None = Field(description="A directory, or a URL without secrets; null: memory of the process.")
    size_bytes: int | None = Field(description="Of the frames held; of a server, of all that it holds.")
    capacity_bytes: int | None
    chunks: int | None = Field(description="Held; of a server, all its values.")
    durable: bool
    available: bool
    problem: str | None = Field(description="Why it is not available.")
    reads_held_off: bool = Field(description="Its breaker is open: it is not asked for a while.")
    writes_held_off: bool
    chunks_asked: int | None = Field(description="Of prompts that were looked up: those that no faster tier held.")
    chunks_held: int | None = Field(description="How many of these it did.")
    median_s: float | None = Field(description="That a frame took to come, of the last ones.")
    p99_s: float | None


class HistoryBody(BaseModel):
    """Samples, the oldest first: every list is as long as `at_s`. Null is what was not known then."""

    every_s: float
    at_s: list[float] = Field(description="Unix seconds.")
    tiers: dict[str, list[int | None]] = Field(description="Bytes held, by the tier's name.")
    waiting_bytes: list[int]
    counters: dict[str, list[int | None]] = Field(description="Those that were ever more than 0.")


class StatusAnswer(BaseModel):
    version: str
    path: str | None = Field(description="The store's directory.")
    uptime_s: float
    tiers: list[TierBody] = Field(description="The fastest first.")
    waiting_bytes: int = Field(description="Of frames that are not below the fastest tier yet.")
    leases: int
    counters: dict[str, int]
    keeps_answers: bool = Field(description="It is a proxy that answers from a cache: see /v1/categories.")
    history: HistoryBody | None = Field(description="Null where it was not asked for.")


class ImportProblem(BaseModel):
    part: str
    problem: str


class ImportAnswer(BaseModel):
    """What became of an archive's chunks, as `kvstore import` has it."""

    imported: list[str]
    imported_bytes: int
    held: int = Field(description="How many were there already.")
    expired: int
    no_room: int
    absent_profiles: list[str]
    problems: list[ImportProblem] = Field(description="What was skipped, and why.")
