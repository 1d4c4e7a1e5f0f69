"""CostModel: what loading and computing take here, measured while they run, and how much to load therefore.

    getting a frame     per call + per byte                                  of each tier
    decoding a chunk    per call + per token                                 of each model and quality
    computing tokens    per call + per token + per pair of tokens attending  of each model

The engine computes a prompt's tokens behind what was loaded, so a plan is a cut: chunks before it are loaded,
the rest is computed. Frames are got one after the other while those before are decoded (`streaming.finishes`).
The sooner plan is taken, as in CacheGen (arXiv 2310.07240, section 5.3), which compares the two for each
chunk; computing all is one of the cuts, so no plan is expected to be slower than that.

Pure: seconds in, a plan out; who measures reads the clock.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from kvstore.estimate import Estimate
from kvstore.pipeline import DECODERS
from kvstore.streaming import finishes

_Name = TypeVar("_Name", bound=Hashable)
RETRY_SHARE = 0.01
"""Of the time that went into computing what was held: spent on loading some of it again, to learn whether it still
takes too long."""


@dataclass(frozen=True, slots=True)
class Held:
    """A chunk that could be loaded: from which tier, and how many bytes that takes by quality."""

    tier: str
    num_bytes: Mapping[str, int]


@dataclass(frozen=True)
class Plan:
    """Load the first `num_chunks` chunks at `quality`, compute the rest.

    Seconds to the first token: expected of this plan, and of computing everything. What was not measured yet
    counts as taking no time, but for computing, which then counts as endless.
    """

    num_chunks: int
    quality: str
    expected_s: float
    computing_s: float


class CostModel:
    """Plans from running estimates. Safe in threads.

    What was not measured yet is tried: without measurements everything is loaded.
    """

    def __init__(self, decoders: int = DECODERS) -> None:
        """`decoders`: how many chunks are decoded at once."""
        self._decoders = decoders
        self._getting: defaultdict[str, Estimate] = defaultdict(Estimate)
        self._decoding: defaultdict[tuple[str, str], Estimate] = defaultdict(Estimate)
        self._computing: defaultdict[str, Estimate] = defaultdict(Estimate)
        self._lock = threading.Lock()
        self._owed_s = 0.0

    def got(self, tier: str, num_bytes: int, seconds: float) -> None:
        """A tier took that long to hand over a frame."""
        self._of(self._getting, tier).observe((1.0, max(num_bytes, 1)), seconds)

    def decoded(self, model: str, quality: str, num_tokens: int, seconds: float) -> None:
        """Verifying and decoding a chunk took that long."""
        self._of(self._decoding, (model, quality)).observe((1.0, num_tokens), seconds)

    def computed(self, model: str, num_tokens: int, context: int, seconds: float) -> None:
        """The engine took that long to the first token for `num_tokens` prompt tokens behind `context` others."""
        self._of(self._computing, model).observe(_attention(num_tokens, context), seconds)

    def computing_s(self, model: str, num_tokens: int, context: int = 0) -> float:
        """Seconds to expect for computing a prompt of `num_tokens` behind its first `context`; endless if unknown."""
        computing = self._of(self._computing, model)
        return computing.seconds(_behind(context, num_tokens)) if computing.rates else math.inf

    def spared_s(self, model: str, num_tokens: int, context: int) -> float:
        """Seconds that computing `num_tokens` behind `context` others would have added to a prompt; 0 if unknown."""
        _, tokens, pairs = _attention(num_tokens, context)
        return self._of(self._computing, model).seconds((0.0, tokens, pairs))

    def loading_s(self, model: str, held: Sequence[Held], quality: str, chunk_tokens: int) -> float:
        """Seconds to expect until these chunks are loaded at that quality; 0 for what was not measured yet."""
        return self._ready_s(model, held, quality, chunk_tokens)[-1]

    def plan(
        self,
        model: str,
        held: Sequence[Held],
        chunk_tokens: int,
        num_tokens: int,
        qualities: Sequence[str],
        target_s: float = math.inf,
        context: int = 0,
    ) -> Plan:
        """How to have the KV of a prompt of `num_tokens`: its first `context` tokens are there, chunks behind `held`.

        Of the qualities (finest first) the finest whose soonest cut is in time for `target_s`; where none is,
        the soonest. The last prompt token is always computed. Asked again for the chunks that remain, behind
        each one that has come, it follows a bandwidth that changes, as the paper's controller does.
        """
        computing = self._of(self._computing, model)
        rest_s = [
            computing.seconds(_behind(begin, num_tokens))
            for begin in range(context, context + (len(held) + 1) * chunk_tokens, chunk_tokens)
        ]
        plans = []
        for quality in qualities:
            ready_s = self._ready_s(model, held, quality, chunk_tokens)
            expected_s = [ready + rest for ready, rest in zip(ready_s, rest_s, strict=True)]
            cuts = range(len(held), -1, -1)  # of two as soon the one that loads more
            cut = min(cuts, key=expected_s.__getitem__) if computing.rates else len(held)
            plans.append(Plan(cut, quality, expected_s[cut], rest_s[0] if computing.rates else math.inf))
            if expected_s[cut] <= target_s:
                return plans[-1]
        return min(plans, key=lambda plan: plan.expected_s)

    def share_to_recompute(
        self, model: str, loading_s: float, num_tokens: int, context: int, bounds: tuple[float, float]
    ) -> float | None:
        """Of a prompt's tokens behind its first `context`, reused from elsewhere: the share to compute all the same.

        As many as are computed while the others are loaded, which takes `loading_s`, within `bounds` (CacheBlend,
        arXiv 2405.16444, section 5.1); the least while computing was not measured. None: computing all is sooner.
        """
        computing_s, (least, most) = self.computing_s(model, num_tokens, context), bounds
        if loading_s >= computing_s:
            return None
        return min(max(loading_s / computing_s, least), most)

    def retry_due(self, plan: Plan) -> bool:
        """Whether a chunk that this plan leaves out should be loaded beside it; then `retried` must follow.

        One at a time, and never again before `RETRY_SHARE` of the time that computing took instead has paid
        for the last one: what was slow once is asked again, and asking costs little.
        """
        with self._lock:
            self._owed_s -= RETRY_SHARE * plan.computing_s
            due = self._owed_s <= 0
            if due:
                self._owed_s = math.inf
            return due

    def retried(self, seconds: float) -> None:
        """The chunk that was due has been loaded, or not at all, in that time."""
        with self._lock:
            self._owed_s = seconds

    def _ready_s(self, model: str, held: Sequence[Held], quality: str, chunk_tokens: int) -> list[float]:
        """Seconds until none, one, two, ... of the chunks are loaded."""
        return [0.0, *finishes(self._step(model, quality, chunk, chunk_tokens) for chunk in held)]

    def _step(self, model: str, quality: str, chunk: Held, chunk_tokens: int) -> tuple[float, float]:
        get_s = self._of(self._getting, chunk.tier).seconds((1.0, chunk.num_bytes[quality]))
        return get_s, self._of(self._decoding, (model, quality)).seconds((1.0, chunk_tokens)) / self._decoders

    def _of(self, estimates: defaultdict[_Name, Estimate], name: _Name) -> Estimate:
        with self._lock:
            return estimates[name]


class AlwaysLoad(CostModel):
    """Measures all the same, and loads whatever is held: the control."""

    def plan(
        self,
        model: str,
        held: Sequence[Held],
        chunk_tokens: int,
        num_tokens: int,
        qualities: Sequence[str],
        target_s: float = math.inf,
        context: int = 0,
    ) -> Plan:
        return Plan(len(held), qualities[0], 0.0, math.inf)

    def share_to_recompute(
        self, model: str, loading_s: float, num_tokens: int, context: int, bounds: tuple[float, float]
    ) -> float | None:
        return bounds[0]


def _attention(num_tokens: int, context: int) -> tuple[float, float, float]:
    """One call, its tokens, and its pairs of a token and one that it attends to."""
    return 1.0, num_tokens, num_tokens * (context + (num_tokens + 1) / 2)


def _behind(context: int, num_tokens: int) -> tuple[float, float, float]:
    """Of what is left of a prompt behind its first `context` tokens: the last token is always computed."""
    return _attention(max(num_tokens - context, 1), context)
