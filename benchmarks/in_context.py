"""Does a small model answer better when it is shown answers to questions like the one asked, and what does that cost?

Questions whose answers are known (`in_context_tasks.py`), and stored answers to others of the same kinds, a fifth of
them wrong. The demo model answers with nothing shown, with stored answers by lot, with the nearest by cosine, and
with those that `Examples` selects, which learned on other questions what is useful. Then the router, in a simulation
with the qualities that were just measured (`in_context_routing.py`).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import torch
from rich.progress import Progress

from benchmarks.in_context_routing import Qualities, routed
from benchmarks.in_context_tasks import TASKS, Question, questions, wrong_answer
from benchmarks.report import Check, at_least, parser, publish
from benchmarks.small_model import Answered, SmallModel
from connectors.hf.models import demo_model_dir, load_model
from semantic_cache.example import Example, Scope
from semantic_cache.examples import Examples, Limits, Message, with_examples
from semantic_cache.lexical_embedder import LexicalEmbedder
from semantic_cache.replay import Replay
from semantic_cache.request import Request
from semantic_cache.usefulness import Usefulness

_SCOPE = Scope("somebody", "a family", b"")
_SYSTEM: Message = {"role": "system", "content": "Answer with the answer only."}
_SHARE_WRONG = 0.2
_LIMITS = Limits(relevant_cosine=0.2, relevant=8, examples=3, chars=1000)  # lexical cosines are lower than a model's


@dataclass(frozen=True)
class Asked:
    """A question, and the answers stored, the nearest first."""

    question: Question
    request: Request
    stored: tuple[Example, ...]


@dataclass(frozen=True)
class Outcome:
    asked: Asked
    shown: tuple[Example, ...]
    answered: Answered

    @property
    def quality(self) -> float:
        return float(self.asked.question.right(self.answered.said))


Way = Callable[[Asked], Sequence[Example]]


class Learned:
    """What `Examples` selects by what it learned, and the learning."""

    def __init__(self, examples: Examples, replay: Replay) -> None:
        self._examples, self._replay = examples, replay

    def __call__(self, asked: Asked) -> Sequence[Example]:
        return self._examples.select(_SCOPE, asked.request, self._with_past(asked.stored)).examples

    def learn(self, outcome: Outcome) -> None:
        request, usefulness = outcome.asked.request, self._examples.usefulness
        shown, without = self._with_past(outcome.shown), usefulness.expected(request, [])
        usefulness.learn(request, shown, outcome.quality)
        for example in shown:
            self._replay.used(example.document_id, outcome.quality, without, compute_s=1 / len(shown))

    def _with_past(self, examples: Sequence[Example]) -> list[Example]:
        return [replace(example, past=self._replay.past(example.document_id)) for example in examples]


def main() -> None:
    arguments = _arguments()
    small = SmallModel(*load_model(arguments.model or demo_model_dir(), torch.float32))
    chosen = Random(arguments.seed)
    num_stored, num_learning = arguments.stored * len(TASKS), arguments.learning * len(TASKS)
    made = questions(arguments.stored + arguments.learning + arguments.asked, chosen)
    stored, others = made[:num_stored], made[num_stored:]
    wrong = {place for place in range(num_stored) if chosen.random() < _SHARE_WRONG}
    answers = [wrong_answer(each, chosen) if place in wrong else each.answer for place, each in enumerate(stored)]
    asked = _asked(others, stored, answers)
    ways = _ways(num_stored, chosen)
    learned = Learned(Examples(Usefulness(list(TASKS)), _LIMITS), _accounts(num_stored))
    with Progress() as progress:
        bar = progress.add_task("", total=len(ways) + 4)

        def outcomes(name: str, way: Way, part: Sequence[Asked]) -> list[Outcome]:
            progress.update(bar, advance=1, description=f"{len(part)} questions, {name}")
            return _outcomes(small, part, way)

        lessons = [outcomes(f"{name}, to learn", ways[name], asked[:num_learning]) for name in _TO_LEARN]
        for turn in zip(*lessons, strict=True):
            for outcome in turn:
                learned.learn(outcome)
        ways["learned"] = learned
        results = {name: outcomes(name, way, asked[num_learning:]) for name, way in ways.items()}
    rows = [_row(name, results[name], results["nothing"], wrong) for name in results]
    simulation = routed(_qualities(results), arguments.requests, arguments.seed)
    tables = [*rows, *[_row_of_task(task, results) for task in TASKS], *simulation.rows]
    publish("in_context", tables, [*_checks(rows), *simulation.checks], arguments.json)


_TO_LEARN = ("nothing", "3 by lot", "3 nearest")


def _arguments() -> argparse.Namespace:
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--model", help="hub id or directory; the demo model where absent")
    options.add_argument("--stored", type=int, default=24, help="answers of each task that may be shown")
    options.add_argument("--learning", type=int, default=10, help="questions of each task to learn from")
    options.add_argument("--asked", type=int, default=12, help="questions of each task that count")
    options.add_argument("--requests", type=int, default=6000, help="of each routing simulation")
    options.add_argument("--seed", type=int, default=0)
    arguments = options.parse_args()
    if arguments.quick:
        arguments.stored, arguments.learning, arguments.asked, arguments.requests = 12, 1, 1, 1000
    return arguments


def _asked(made: Sequence[Question], stored: Sequence[Question], answers: Sequence[str]) -> list[Asked]:
    embedder = LexicalEmbedder()
    cosines = embedder.embed([each.asked for each in made]) @ embedder.embed([each.asked for each in stored]).T
    result = []
    for question, row in zip(made, cosines.tolist(), strict=True):
        seen = [
            Example(place, _SCOPE, each.task, each.asked, answers[place], row[place], age_s=0.0)
            for place, each in enumerate(stored)
        ]
        nearest_first = tuple(sorted(seen, key=lambda example: -example.cosine))
        result.append(Asked(question, Request(question.task, len(question.asked)), nearest_first))
    return result


def _ways(num_stored: int, chosen: Random) -> dict[str, Way]:
    """Without learning. The nearest stands last, next to the question."""

    def by_lot(asked: Asked) -> Sequence[Example]:
        return chosen.sample(asked.stored, 3)

    return {
        "nothing": lambda asked: (),
        "3 by lot": by_lot,
        "1 nearest": lambda asked: asked.stored[:1],
        "3 nearest": lambda asked: asked.stored[2::-1],
    }


def _accounts(num_stored: int) -> Replay:
    replay = Replay(clock=lambda: 0.0)
    for place in range(num_stored):
        replay.add(place, size_bytes=1, compute_s=1.0)
    return replay


def _outcomes(small: SmallModel, asked: Sequence[Asked], way: Way) -> list[Outcome]:
    shown = [tuple(way(each)) for each in asked]
    chats = [
        with_examples([_SYSTEM, {"role": "user", "content": each.question.asked}], examples)
        for each, examples in zip(asked, shown, strict=True)
    ]
    return [Outcome(*parts) for parts in zip(asked, shown, small.answer(chats), strict=True)]


def _row(name: str, outcomes: Sequence[Outcome], nothing: Sequence[Outcome], wrong: set[int]) -> dict[str, Any]:
    """`better` and `worse` count questions against nothing shown."""
    pairs = [(one.quality, other.quality) for one, other in zip(outcomes, nothing, strict=True)]
    shown = [example.document_id for outcome in outcomes for example in outcome.shown]
    return {
        "shown": name,
        "right": statistics.mean(outcome.quality for outcome in outcomes),
        "better": sum(one > other for one, other in pairs),
        "worse": sum(one < other for one, other in pairs),
        "examples": len(shown) / len(outcomes),
        "wrong_examples": len(wrong.intersection(shown)) / len(shown) if shown else 0.0,
        "prompt_tokens": statistics.mean(outcome.answered.prompt_tokens for outcome in outcomes),
        "cpu_ms": 1e3 * statistics.mean(outcome.answered.cpu_s for outcome in outcomes),
    }


def _quality(outcomes: Sequence[Outcome], task: str) -> float:
    return statistics.mean(outcome.quality for outcome in outcomes if outcome.asked.question.task == task)


def _row_of_task(task: str, results: dict[str, list[Outcome]]) -> dict[str, Any]:
    return {"task": task} | {name: _quality(outcomes, task) for name, outcomes in results.items()}


def _qualities(results: dict[str, list[Outcome]]) -> dict[str, Qualities]:
    return {task: Qualities(_quality(results["nothing"], task), _quality(results["learned"], task)) for task in TASKS}


def _checks(rows: Sequence[dict[str, Any]]) -> list[Check]:
    right = {row["shown"]: row["right"] for row in rows}
    return [
        at_least("right with learned examples less right without", right["learned"] - right["nothing"], 0.1),
        at_least("right with learned examples less with the 3 nearest", right["learned"] - right["3 nearest"], 0.0),
    ]


if __name__ == "__main__":
    main()
