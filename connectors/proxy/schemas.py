"""What the routes of the cache take and answer, as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from connectors.sidecar.schemas import Given, Tenant
from semantic_cache.statistics import CategoryStatistics


class FeedbackRequest(Given):
    hit_id: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    right: bool = Field(description="Whether the answer was right.")
    tenant: Tenant | None = Field(None, description="Whose answer it was; the caller's own unless said.")


class FeedbackAnswer(BaseModel):
    counted: bool = Field(description="False for an answer that is not known, was judged before, or is another's.")


class LoadRequest(Given):
    load: Annotated[float, Field(ge=0, le=1, description="Of the upstream: 0 none, 1 full.")]
    for_s: Annotated[float, Field(gt=0, le=3600, description="For which it is taken as said.")] = 60.0


class LoadAnswer(BaseModel):
    load: float = Field(description="In effect now.")


class AnswerBody(BaseModel):
    """An answer that is held. Times are Unix seconds; null for never."""

    id: int
    question: str = Field(description="Its beginning.")
    answer: str = Field(description="The beginning of its text.")
    model: str
    category: str
    tenant: str
    writer: str = Field(description="Who had it computed.")
    saved_at_s: float
    expires_at_s: float | None
    compute_s: float = Field(description="Seconds that computing it took.")
    size_bytes: int


class AnswerPage(BaseModel):
    answers: list[AnswerBody]
    next_after: int | None = Field(description="`after` of the next page; null behind the last one.")


class DropAnswer(BaseModel):
    answers: int = Field(description="How many there were.")
    dropped: bool


@dataclass(frozen=True)
class CategoryLine(CategoryStatistics):
    """And what its labels prove. Null is what is not known."""

    observed: Annotated[int, Field(description="Answers whose rightness is known.")]
    threshold: Annotated[float | None, Field(description="The lowest score that is served; null while none is.")] = None
    wrong: Annotated[float | None, Field(description="Share of what is served that is wrong, as estimated.")] = None
    wrong_at_most: Annotated[float | None, Field(description="The same, at the confidence that was asked for.")] = None


class CategoryList(BaseModel):
    categories: list[CategoryLine]
