"""One request for a context's KV over a simulated link: what a policy gets, and when the last of it is there.

One link and one processor, both in order: a chunk is decoded, or computed, when it has come and all before
it are there. Asking costs nothing, and text is at hand where it is computed. A policy knows the bandwidth
that its last fetch had, before the first one the link's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from benchmarks.bandwidth import Trace
from kvstore.streaming import Offer, Outlook, choose, refine


@dataclass(frozen=True)
class Policy:
    """What may be asked for, finest first, and how."""

    qualities: tuple[str, ...]
    recompute: bool = False
    refine: bool = False
    caution: float = 1.0


@dataclass
class Run:
    """What came of one request."""

    ttft_s: float = 0.0
    num_bytes: int = 0
    held: list[str | None] = field(default_factory=list)
    """Each chunk's quality, None where it was computed."""
    longest_fetch_s: float = 0.0


class _Link:
    """The trace from the request's start on, and the bandwidth seen last."""

    def __init__(self, trace: Trace, start_s: float) -> None:
        self._trace, self._start_s = trace, start_s
        self.bandwidth, self.now_s = trace.rate(start_s), 0.0

    def fetch(self, num_bytes: int) -> float:
        """Seconds it took."""
        began_s = self.now_s
        self.now_s = self._trace.arrival_s(self._start_s + began_s, num_bytes) - self._start_s
        took_s = self.now_s - began_s
        self.bandwidth = num_bytes / took_s if took_s else self.bandwidth
        return took_s


def simulate(offers: Sequence[Offer], policy: Policy, trace: Trace, start_s: float, target_s: float) -> Run:
    """The request that comes at `start_s` of the trace and wants its KV `target_s` seconds later."""
    if not policy.recompute:
        offers = [replace(offer, recompute_s=math.inf) for offer in offers]
    link, run, computed_s = _Link(trace, start_s), Run(), 0.0
    for offer in offers:
        way = choose(offers, run.held, policy.qualities, _outlook(link, computed_s, target_s), policy.caution)
        num_bytes, compute_s = offer.step(way)
        if num_bytes:
            run.longest_fetch_s = max(run.longest_fetch_s, link.fetch(num_bytes))
        run.num_bytes += num_bytes
        computed_s = max(computed_s, link.now_s) + compute_s
        run.held.append(way)
    run.ttft_s = _refine(offers, policy, link, target_s, computed_s, run) if policy.refine else computed_s
    return run


def _refine(
    offers: Sequence[Offer], policy: Policy, link: _Link, target_s: float, computed_s: float, run: Run
) -> float:
    """Refines what `run` holds; seconds until all is there, at most the target where it was met before."""
    while chosen := refine(offers, run.held, policy.qualities, _outlook(link, computed_s, target_s)):
        chunk, quality = chosen
        num_bytes, decode_s = offers[chunk].step(quality, run.held[chunk])
        link.fetch(num_bytes)
        run.num_bytes += num_bytes
        done_s = max(computed_s, link.now_s) + decode_s
        if done_s > target_s:  # not waited for any longer than it could still have been decoded
            return max(computed_s, min(link.now_s, target_s - decode_s))
        computed_s, run.held[chunk] = done_s, quality
    return computed_s


def _outlook(link: _Link, computed_s: float, target_s: float) -> Outlook:
    return Outlook(link.bandwidth, max(computed_s - link.now_s, 0.0), target_s - link.now_s)
