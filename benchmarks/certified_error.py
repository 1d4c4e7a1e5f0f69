"""How often does a certifier break its promise while scores and errors drift, and what does keeping it cost?

A stream breaks it when, at any time after its first 500 answers, more than `max_wrong` of all answers served until
then were wrong: those that really were, and those to be expected of what it served. An oracle that knows beforehand
how likely each neighbour is wrong serves as many as the budget allows, the least likely first; "of the oracle's" is
the right answers served to other words, as a share of its.
"""

from __future__ import annotations

import os
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from multiprocessing import get_context
from typing import Any

from benchmarks.drifting_streams import KINDS, Request, stream
from benchmarks.report import at_least, at_most, parser, publish
from semantic_cache.certifier import Certifier, Choice, FixedThreshold
from semantic_cache.error_budget import ErrorBudget
from semantic_cache.learned_threshold import LearnedThreshold

MAX_WRONG = 0.01
WARM_UP_ANSWERS = 500
WINDOW_ANSWERS = 1000


@dataclass(frozen=True)
class Outcome:
    """Of one stream."""

    worst: float
    """Greatest share of wrong answers among all served so far, after the warm-up."""
    worst_expected: float
    """The same, of what was to be expected."""
    worst_window: float
    """Greatest share of wrong ones among the last 1,000."""
    answers: int
    wrong: int
    semantic_right: int
    explored: int
    decide_s: float
    """CPU time."""


def replay(certifier: Certifier, requests: Sequence[Request], turns_out: random.Random) -> Outcome:
    answers = wrong = semantic_right = explored = 0
    expected = worst = worst_expected = worst_window = decide_s = 0.0
    window: deque[bool] = deque([False] * WINDOW_ANSWERS)
    in_window = 0
    for request in requests:
        is_right, is_served, began = turns_out.random() >= request.wrong_chance, True, time.process_time()
        if request.score is None:
            certifier.count_exact()
        else:
            ruling = certifier.choose(request.score)
            is_served = ruling.serves
            if ruling.choice in (Choice.EXPLORE, Choice.CHECK):
                certifier.observe(request.score, is_right, ruling)
                explored += 1
        decide_s += time.process_time() - began
        if not is_served:
            continue
        answers, wrong, expected = answers + 1, wrong + (not is_right), expected + request.wrong_chance
        semantic_right += request.score is not None and is_right
        window.append(not is_right)
        in_window += (not is_right) - window.popleft()
        worst_window = max(worst_window, in_window / WINDOW_ANSWERS)
        if answers >= WARM_UP_ANSWERS:
            worst, worst_expected = max(worst, wrong / answers), max(worst_expected, expected / answers)
    return Outcome(worst, worst_expected, worst_window, answers, wrong, semantic_right, explored, decide_s)


def oracle(requests: Sequence[Request]) -> float:
    """Right answers to other words that are to be expected of one who knows."""
    exact = sum(request.score is None for request in requests)
    chances = sorted(request.wrong_chance for request in requests if request.score is not None)
    served, wrong = 0, 0.0
    for count, total in enumerate(accumulate(chances), 1):
        if total > MAX_WRONG * (exact + count):
            break
        served, wrong = count, total
    return served - wrong


def learned(seed: int) -> Certifier:
    return LearnedThreshold(ErrorBudget(MAX_WRONG, random=random.Random(f"coin {seed}").random))


def fixed(seed: int) -> Certifier:
    return FixedThreshold(0.9)


def measure(
    name: str, make: Callable[[int], Certifier], num_streams: int, num_requests: int, num_processes: int = 1
) -> tuple[list[dict[str, Any]], list[Outcome]]:
    """A row for each kind of stream and one for all, and what came of each stream: the same in any number of
    processes."""
    one, seeds = partial(_of_stream, make, num_requests), range(num_streams)
    if num_processes == 1:
        found = [one(seed) for seed in seeds]
    else:
        with ProcessPoolExecutor(num_processes, get_context("fork")) as processes:
            found = list(processes.map(one, seeds))
    outcomes, best = [outcome for outcome, _ in found], [served for _, served in found]
    rows = [
        _row(name, kind, outcomes[index :: len(KINDS)], best[index :: len(KINDS)]) for index, kind in enumerate(KINDS)
    ]
    return [*rows, _row(name, "all", outcomes, best)], outcomes


def _of_stream(make: Callable[[int], Certifier], num_requests: int, seed: int) -> tuple[Outcome, float]:
    """What comes of it, and what an oracle serves."""
    requests = list(stream(seed, num_requests))
    return replay(make(seed), requests, random.Random(f"turns out {seed}")), oracle(requests)


def _row(name: str, kind: str, outcomes: Sequence[Outcome], best: Sequence[float]) -> dict[str, Any]:
    return {
        "certifier": name,
        "drift": kind,
        "streams": len(outcomes),
        "broken": _share(one.worst > MAX_WRONG for one in outcomes),
        "broken, as expected": _share(one.worst_expected > MAX_WRONG for one in outcomes),
        "of 1,000 more than 2 % wrong": _share(one.worst_window > 2 * MAX_WRONG for one in outcomes),
        "wrong of served": sum(one.wrong for one in outcomes) / max(sum(one.answers for one in outcomes), 1),
        "of the oracle's": sum(one.semantic_right for one in outcomes) / sum(best),
    }


def _share(whether: Iterable[bool]) -> float:
    found = list(whether)
    return sum(found) / len(found)


def main() -> None:
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--streams", type=int, default=500)
    options.add_argument("--requests", type=int, default=6000, help="of each stream")
    options.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    given = options.parse_args()
    num_streams = 60 if given.quick else given.streams
    size = num_streams, given.requests, given.processes
    rows, outcomes = measure("learned", learned, *size)
    control, _ = measure("fixed, 0.9", fixed, *size)
    each_us = sum(one.decide_s for one in outcomes) / (num_streams * given.requests) * 1e6
    checks = [
        at_most("streams that break the promise", rows[-1]["broken"], 0.05),
        at_most("streams expected to break it", rows[-1]["broken, as expected"], 0.05),
        at_least("right answers served, of the oracle's", rows[-1]["of the oracle's"], 0.3),
        at_most("CPU time to choose and observe, us", each_us, 100),
    ]
    publish("certified_error", [*rows, *control], checks, given.json)


if __name__ == "__main__":
    main()
