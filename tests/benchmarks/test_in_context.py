"""The benchmark of in-context reuse, with a model that copies the nearest example's answer."""

import json
import sys
from random import Random

import pytest

from benchmarks import in_context
from benchmarks.in_context_tasks import TASKS, questions, wrong_answer
from benchmarks.small_model import Answered
from semantic_cache.lexical_embedder import LexicalEmbedder


class Copying:
    def __init__(self, *model):
        pass

    def answer(self, chats):
        return [Answered(chat[-2]["content"] if len(chat) > 2 else "no idea", 10 * len(chat), 0.1) for chat in chats]


def test_labels_can_be_copied_from_the_nearest_example_and_numbers_cannot(monkeypatch, tmp_path):
    report = tmp_path / "report.json"
    monkeypatch.setattr(in_context, "SmallModel", Copying)
    monkeypatch.setattr(in_context, "demo_model_dir", lambda: None)
    monkeypatch.setattr(in_context, "load_model", lambda *source: ("model", "tokenizer"))
    monkeypatch.setattr(in_context, "open_embedder", lambda directory: LexicalEmbedder())
    monkeypatch.setattr(sys, "argv", ["in_context", "--asked", "8", "--requests", "500", "--json", str(report)])
    in_context.main()
    rows = json.loads(report.read_text())["rows"]
    by_task = {row["task"]: row for row in rows if "task" in row}
    assert by_task["team"]["1 nearest"] > by_task["team"]["3 by lot"]
    assert by_task["sum"]["3 nearest"] == by_task["team"]["nothing"] == 0
    assert {row["shown"] for row in rows if "shown" in row} >= {"nothing", "learned"}
    routing = {row["who_answers"]: row for row in rows if "who_answers" in row}
    assert (routing["large"]["quality"], routing["large"]["offloaded"]) == (1, 0)
    assert (routing["small"]["quality"], routing["small"]["offloaded"]) == (0, 1)
    assert routing["router, last fifth"]["quality"] > routing["small with examples"]["quality"]


@pytest.mark.parametrize("seed", range(3))
def test_questions_are_all_different_and_wrong_answers_are_wrong(seed):
    made = questions(10, Random(seed))
    assert len({question.asked for question in made}) == 10 * len(TASKS)
    assert all(question.right(f"It is {question.answer}.") for question in made)
    assert not any(question.right(wrong_answer(question, Random(seed))) for question in made)
