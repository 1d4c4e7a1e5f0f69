"""Does a small model answer better when it is shown answers to questions like the one asked, and which can it be left?

Questions whose answers are known (`in_context_tasks.py`), and stored answers to others of the same kinds, a fifth of
them wrong. The demo model answers with nothing shown, with stored answers by lot, with the nearest by cosine, and with
those that `InContext` selects, which learned on other questions what is useful. Then `in_context_routing.py` lets its
router choose, question by question, between these very answers and the truth, as which the large model counts.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from rich.progress import Progress

from benchmarks.in_context_routing import Routable, routed
from benchmarks.in_context_tasks import TASKS, Question, questions, wrong_answer
from benchmarks.report import Check, at_least, at_most, parser, publish
from benchmarks.small_model import Answered, SmallModel
from connectors.hf.models import demo_model_dir, load_model
from semantic_cache.embedder import Embedder
from semantic_cache.example import Example
from semantic_cache.examples import Limits, Message, with_examples
from semantic_cache.in_context import InContext, Plan
from semantic_cache.onnx_embedder import open_embedder
from semantic_cache.query import Query
from semantic_cache.router import Model

_SYSTEM: Message = {"role": "system", "content": "Answer with the answer only."}
_SHARE_WRONG = 0.2
_NEAREST = 8
_MOST_LOST = 0.02


@dataclass(frozen=True)
class Asked:
    """A question, and the answers stored, the nearest first."""

    question: Question
    query: Query
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
_TO_LEARN = ("nothing", "3 by lot", "3 nearest")


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(1)
    small = SmallModel(*load_model(arguments.model or demo_model_dir(), torch.float32))
    chosen = Random(arguments.seed)
    num_stored, num_learning = arguments.stored * len(TASKS), arguments.learning * len(TASKS)
    made = questions(arguments.stored + arguments.learning + arguments.asked, chosen)
    stored, others = made[:num_stored], made[num_stored:]
    wrong = {place for place in range(num_stored) if chosen.random() < _SHARE_WRONG}
    answers = [wrong_answer(each, chosen) if place in wrong else each.answer for place, each in enumerate(stored)]
    asked = _asked(others, stored, answers, open_embedder(arguments.graphs))
    ways, in_context = _ways(chosen), InContext(list(TASKS), Limits(), clock=lambda: 0.0)
    with Progress() as progress:
        bar = progress.add_task("", total=len(ways) + len(_TO_LEARN) + 1)

        def outcomes(name: str, way: Way, part: Sequence[Asked]) -> list[Outcome]:
            progress.update(bar, advance=1, description=f"{len(part)} questions, {name}")
            return _outcomes(small, part, way)

        lessons = [outcomes(f"{name}, to learn", ways[name], asked[:num_learning]) for name in _TO_LEARN]
        for turn in zip(*lessons, strict=True):
            for outcome in turn:
                _learn(in_context, outcome)
        ways["learned"] = lambda each: _plan(in_context, each).selection.examples
        results = {name: outcomes(name, way, asked[num_learning:]) for name, way in ways.items()}
    rows = [_row(name, results[name], results["nothing"], wrong) for name in results]
    routing = routed(_routable(in_context, results), arguments.requests, arguments.seed)
    tables = [*rows, *[_row_of_task(task, results) for task in TASKS], *routing]
    publish("in_context", tables, _checks(rows, routing), arguments.json)


def _arguments() -> argparse.Namespace:
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--model", help="hub id or directory; the demo model where absent")
    options.add_argument("--graphs", type=Path, default=Path("out"), help="where the embedder keeps what it built")
    options.add_argument("--stored", type=int, default=24, help="answers of each task that may be shown")
    options.add_argument("--learning", type=int, default=6, help="questions of each task to learn from")
    options.add_argument("--asked", type=int, default=20, help="questions of each task that count")
    options.add_argument("--requests", type=int, default=5000, help="of each stream that is routed")
    options.add_argument("--seed", type=int, default=0)
    arguments = options.parse_args()
    if arguments.quick:
        arguments.stored, arguments.learning, arguments.asked, arguments.requests = 12, 1, 1, 1000
    return arguments


def _asked(
    made: Sequence[Question], stored: Sequence[Question], answers: Sequence[str], embedder: Embedder
) -> list[Asked]:
    cosines = embedder.embed([each.asked for each in made]) @ embedder.embed([each.asked for each in stored]).T
    result = []
    for question, row in zip(made, cosines.tolist(), strict=True):
        query = Query(question.asked)
        seen = [
            Example(place, query.partition, each.task, each.asked, answers[place], row[place], 0.0, compute_s=1.0)
            for place, each in enumerate(stored)
        ]
        result.append(Asked(question, query, tuple(sorted(seen, key=lambda example: -example.cosine))))
    return result


def _ways(chosen: Random) -> dict[str, Way]:
    """Without learning. The nearest stands last, next to the question."""
    return {
        "nothing": lambda asked: (),
        "3 by lot": lambda asked: chosen.sample(asked.stored, 3),
        "1 nearest": lambda asked: asked.stored[:1],
        "3 nearest": lambda asked: asked.stored[2::-1],
    }


def _plan(in_context: InContext, asked: Asked) -> Plan:
    return in_context.plan(asked.query, asked.question.task, asked.stored[:_NEAREST], load=0.0)


def _learn(in_context: InContext, outcome: Outcome) -> None:
    """As of an answer with these examples, whichever it would have shown."""
    plan = _plan(in_context, outcome.asked)
    plan = replace(plan, selection=replace(plan.selection, examples=outcome.shown))
    in_context.learn(plan.asking(Model.SMALL, examples=True), outcome.quality)


def _outcomes(small: SmallModel, asked: Sequence[Asked], way: Way) -> list[Outcome]:
    shown = [tuple(way(each)) for each in asked]
    chats = [
        with_examples([_SYSTEM, {"role": "user", "content": each.question.asked}], examples)
        for each, examples in zip(asked, shown, strict=True)
    ]
    return [Outcome(*parts) for parts in zip(asked, shown, small.answer(chats), strict=True)]


def _routable(in_context: InContext, results: dict[str, list[Outcome]]) -> list[Routable]:
    return [
        Routable(_plan(in_context, alone.asked).choice.features, alone.quality, shown.quality)
        for alone, shown in zip(results["nothing"], results["learned"], strict=True)
    ]


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


def _row_of_task(task: str, results: dict[str, list[Outcome]]) -> dict[str, Any]:
    def right(outcomes: Sequence[Outcome]) -> float:
        return statistics.mean(outcome.quality for outcome in outcomes if outcome.asked.question.task == task)

    return {"task": task} | {name: right(outcomes) for name, outcomes in results.items()}


def _checks(rows: Sequence[dict[str, Any]], routing: Sequence[dict[str, Any]]) -> list[Check]:
    right = {row["shown"]: row["right"] for row in rows}
    quality = {row["who_answers"]: row["quality"] for row in routing}
    return [
        at_least("right with learned examples less right without", right["learned"] - right["nothing"], 0.1),
        at_least("right with learned examples less with 3 by lot", right["learned"] - right["3 by lot"], 0.0),
        at_most("quality that the router loses at first", 1 - quality["router, first fifth"], _MOST_LOST),
        at_most("quality that the router loses in the end", 1 - quality["router, last fifth"], _MOST_LOST),
    ]


if __name__ == "__main__":
    main()
