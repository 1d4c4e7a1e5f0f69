"""What the routes take and answer, as JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from kvstore.leases import LONGEST_LEASE_S
from kvstore.metrics import NAMES
from kvstore.segment_record import MAX_TENANT_BYTES

Key = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
"""A chunk's key: 64 hex digits."""
MOST_KEYS = 1 << 14
_MOST_S = 10**10
Keys = Annotated[list[Key], Field(max_length=MOST_KEYS, description="A prompt's chunks, the first one first.")]
Tenant = Annotated[str, StringConstraints(max_length=MAX_TENANT_BYTES // 4)]
LeaseS = Annotated[float, Field(ge=0, le=LONGEST_LEASE_S, description="For how long they stay; 0: no lease.")]


def whole(number: object) -> object:
    """JSON has one kind of number: 2.0 is 2."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


Count = Annotated[int, Field(strict=True, ge=0, le=1 << 53), BeforeValidator(whole)]


def _of_names(counts: dict[str, int]) -> dict[str, int]:
    if unknown := sorted(counts.keys() - NAMES.keys()):
        raise ValueError(f"there is no counter {unknown[0]!r:.50}")
    return counts


class Given(BaseModel):
    """What is sent to us: nothing that is not known is taken, and nothing for what it is not."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ProblemBody(BaseModel):
    """RFC 9457, with a code that does not change."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str = Field(description="What the log has it under.")


class KeyList(Given):
    keys: Keys


class MatchRequest(Given):
    keys: Keys
    lease_s: LeaseS = 0.0


class Run(BaseModel):
    tier: str
    chunks: int


class LeaseBody(BaseModel):
    id: str
    seconds: float = Field(description="For which the frames stay from now on, though there be no room for others.")


class MatchAnswer(BaseModel):
    held: int = Field(description="How many leading chunks are held.")
    runs: list[Run] = Field(description="Of which tier, in their order.")
    lease: LeaseBody | None = Field(None, description="Null where none was asked for, or too much is leased.")


class Descriptor(BaseModel):
    """Where a frame lies: bytes [offset, offset + size_bytes) of a file, and the XXH3-128 of them."""

    key: str
    path: str
    offset: int
    size_bytes: int
    xxh3: str


class DescriptorAnswer(MatchAnswer):
    frames: list[Descriptor | None] = Field(description="Of the chunks held; null: it lies in no file, get its body.")


class PutAnswer(BaseModel):
    stored: int = Field(description="How many leading frames were kept.")
    durable: bool = Field(description="Whether these outlive a loss of power.")


class PinRequest(KeyList):
    pinned: bool = True


class DeleteRequest(Given):
    """Chunks by key, or all that fit every filter; what lies behind them goes along."""

    keys: Annotated[list[Key], Field(max_length=MOST_KEYS)] | None = None
    prefix: Key | None = Field(None, description="This chunk and all behind it.")
    tenant: Tenant | None = None
    unused_for_s: Annotated[float, Field(ge=0, le=_MOST_S)] | None = None
    older_than_s: Annotated[float, Field(ge=0, le=_MOST_S)] | None = None
    everything: bool = Field(False, description="Said where no filter is given.")
    pinned: bool = Field(False, description="Pinned chunks too; without it they stay.")
    dry_run: bool = False


class DeleteAnswer(BaseModel):
    chunks: int
    size_bytes: int
    deleted: bool


class Held(BaseModel):
    held: int = Field(description="How many leading chunks are held.")


class Accepted(BaseModel):
    accepted: int = Field(description="How many leading chunks will be looked at; the rest is dropped.")


class LeaseRequest(Given):
    lease_s: Annotated[float, Field(gt=0, le=LONGEST_LEASE_S)]


class QuarantineRequest(Given):
    key: Key
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)]


class ReportRequest(Given):
    """What an engine has counted since it started."""

    engine: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:\-]{1,100}$")]
    model: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    counts: Annotated[
        dict[str, Count], AfterValidator(_of_names), Field(json_schema_extra={"propertyNames": {"enum": sorted(NAMES)}})
    ]


class EngineBody(BaseModel):
    engine: str
    model: str
    tenant: str
    reported_at_s: float = Field(description="Unix seconds.")
    counts: dict[str, int]


class ModelBody(BaseModel):
    """Sums over all that its engines ever reported."""

    model: str
    rungs: dict[str, int] = Field(description="Prompt tokens, by what became of them.")
    counts: dict[str, int]


class ReportsAnswer(BaseModel):
    engines: list[EngineBody] = Field(description="Those heard of lately, the last one first.")
    models: list[ModelBody]


class EntryBody(BaseModel):
    """What is remembered of a frame. Times are Unix seconds; null for never."""

    key: str
    size_bytes: int
    parent: str | None
    tenant: str
    pinned: bool
    saved_at_s: float
    used_at_s: float
    expires_at_s: float | None
    hits: int


class ProfileList(BaseModel):
    profiles: list[str] = Field(description="Fingerprints, the newest first.")


class Status(BaseModel):
    status: str
