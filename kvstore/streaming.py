"""Which quality of which chunk to fetch next, or to compute instead, so that the first token comes in time.

The rule of CacheGen (arXiv 2310.07240, section 5.3), with the bandwidth measured while the chunk before was
fetched: of computing the chunk from its text and of the qualities there are, the least lossy one for which
all chunks still missing, treated alike, would be there in time. Pure: bytes, seconds and bandwidths in, a
choice out; who calls fetches, decodes, computes and reads the clock.

Where this differs from the paper, and why:

* A quality is a prefix of one progressive frame, so a chunk fetched at a low quality can be refined later for
  the bytes it lacks (`refine`, once no chunk is missing). So a quality above the coarsest is taken at once
  only if it would be in time at a fraction of the bandwidth (`caution`): a drop then costs quality, not time,
  where the paper has by then spent its time on fine chunks. A refinement is never waited for beyond the
  target: what is there can be used as it is.
* Fetching and computing overlap: a chunk is decoded, or computed, in its turn behind those before it, whose
  KV it needs, while later ones are being fetched. The paper counts fetching only, or computing only.
* Where nothing would be in time, the next chunk comes by whichever way has it sooner; the paper takes its
  lowest level. So at a steady bandwidth a prompt is never later than if all of it were computed; where the
  bandwidth falls, it may be later by as much longer as the chunk took that was being fetched then.
* What is computed behind lossy chunks is not exact, and takes the time in which those could be refined. So
  once a chunk is lossy, others are computed only where that has them sooner.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

CAUTION = 4.0
"""A fine quality in time at a quarter of the bandwidth is about `small` in time at a thirteenth of it."""


@dataclass(frozen=True)
class Offer:
    """What a chunk's KV costs, by quality or from the text."""

    num_bytes: Mapping[str, int]
    """To be fetched, by quality: `codec.bytes_needed`."""
    decode_s: Mapping[str, float]
    recompute_s: float = math.inf
    """To compute it behind the chunks before; infinite where it must not be."""

    def step(self, way: str | None, held: str | None = None) -> tuple[int, float]:
        """Bytes to fetch and seconds to decode for a quality, with one held already; or to compute, for None."""
        if way is None:
            return 0, self.recompute_s
        return self.num_bytes[way] - (self.num_bytes[held] if held else 0), self.decode_s[way]


@dataclass(frozen=True)
class Outlook:
    """What is known when a choice is due."""

    bandwidth: float
    """Bytes per second to expect; 0 where nothing comes."""
    backlog_s: float
    """Seconds until everything fetched or given to compute so far is decoded and computed."""
    left_s: float
    """Seconds until the target, the question's own prefill and any margin taken off."""


def choose(
    offers: Sequence[Offer],
    held: Sequence[str | None],
    qualities: Sequence[str],
    outlook: Outlook,
    caution: float = CAUTION,
) -> str | None:
    """How to get the first chunk that is missing: at one of `qualities` (finest first), or None: compute it.

    `held` says of the chunks before it at which quality they were fetched, None where they were given to
    compute. All qualities but the coarsest must be in time at `1 / caution` of the bandwidth.
    """
    missing = offers[len(held) :]
    cautious = replace(outlook, bandwidth=outlook.bandwidth / caution)
    exact: list[str | None] = [] if any(held) else [None]
    for way in (*exact, *qualities):
        expected = cautious if way in qualities[:-1] else outlook
        if finish_s([offer.step(way) for offer in missing], expected) <= outlook.left_s:
            return way
    ways: list[str | None] = [*reversed(qualities), None]
    return min(ways, key=lambda way: finish_s([missing[0].step(way)], outlook))


def refine(
    offers: Sequence[Offer], held: Sequence[str | None], qualities: Sequence[str], outlook: Outlook
) -> tuple[int, str] | None:
    """Which chunk to bring to which of `qualities` (finest first) with the time left; None: no more of them.

    `held` is each chunk's quality now, None where it was computed. The finest quality that all chunks below it
    can still reach; failing that one step up for a chunk of the coarsest. The latest chunk comes first:
    what is asked about a text, and the answer, stand next to it.
    """
    latest_first = range(len(offers) - 1, -1, -1)
    for index, quality in enumerate(qualities):
        below = [chunk for chunk in latest_first if held[chunk] in qualities[index + 1 :]]
        steps = [offers[chunk].step(quality, held[chunk]) for chunk in below]
        if below and finish_s(steps, outlook) <= outlook.left_s:
            return below[0], quality
    for coarser, quality in pairwise(reversed(qualities)):
        for chunk in latest_first:
            if held[chunk] == coarser:
                step = offers[chunk].step(quality, coarser)
                if finish_s([step], outlook) <= outlook.left_s:
                    return chunk, quality
    return None


def finish_s(steps: Iterable[tuple[int, float]], outlook: Outlook) -> float:
    """Seconds until all steps are done, each `(bytes to fetch, seconds to decode or compute)`, in their order."""
    per_byte_s = 1 / outlook.bandwidth if outlook.bandwidth else math.inf
    timed = ((more * per_byte_s if more else 0.0, work_s) for more, work_s in steps)
    return max(finishes(timed, outlook.backlog_s), default=outlook.backlog_s)


def finishes(steps: Iterable[tuple[float, float]], backlog_s: float = 0.0) -> Iterator[float]:
    """Seconds until each step is done, each `(seconds to fetch, seconds to decode or compute)`, in their order.

    Fetches come one after the other; a step is computed when it was fetched and all steps before it are there.
    """
    fetched_s, done_s = 0.0, backlog_s
    for fetch_s, work_s in steps:
        fetched_s += fetch_s
        done_s = (max(done_s, fetched_s) if fetch_s else done_s) + work_s
        yield done_s
