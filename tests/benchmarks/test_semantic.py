"""What stands behind the tables of the semantic cache: pairs, edits, and a trace whose right answers are known."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.semantic_edits import edited
from benchmarks.semantic_ours import TraceReplay, in_memory
from benchmarks.semantic_pairs import RULED_OUT, Pair, auc, by_kind, read_conversations, read_pairs, recalls, told
from benchmarks.semantic_trace import (
    NOTHING,
    CosineReplay,
    Near,
    Request,
    Result,
    best_by_category,
    best_uniform,
    longer,
    results_of,
    tally,
)
from benchmarks.semantic_vectors import TableEmbedder, embedded, near_copies, read_table
from semantic_cache.category import Category, Rule
from semantic_cache.certifier import FixedThreshold
from semantic_cache.certifiers import Certifiers
from semantic_cache.judge import CosineJudge
from semantic_cache.lexical_embedder import LexicalEmbedder
from semantic_cache.policy import Policy


def unit(*degrees):
    """[text, 2]: directions in a plane."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


TABLE = TableEmbedder(["a", "near a", "b", "near b"], unit(0, 10, 90, 60), "made up")


def request(text, cluster, tenant="t", category="general", at_s=0.0):
    return Request(text, tenant, category, cluster, at_s)


def policy_of(floor):
    semantic = [Category(name, floor=floor, ttl_s=100.0) for name in ("general", "docs", "default")]
    return Policy([*semantic, *(Category(rule.value, allowed=False) for rule in Rule)])


def test_what_is_served_is_told_apart_by_what_it_should_have_been():
    pairs = [Pair("x", "y", same) for same in (True, True, False, False, False)]
    found = told(pairs, [True, False, True, False, False])
    assert (found.recall, found.false_hits, found.precision) == (0.5, pytest.approx(1 / 3), 0.5)
    assert math.isnan(told(pairs, [False] * 5).precision)


def test_kinds_have_a_row_each_and_a_column_for_each_way():
    pairs = [Pair("x", "y", False, "number"), Pair("x", "y", False, "number"), Pair("x", "y", True, "same")]
    assert by_kind(pairs, {"ours": [True, False, True]}) == [
        {"kind": "number", "good": False, "pairs": 2, "ours": 0.5},
        {"kind": "same", "good": True, "pairs": 1, "ours": 1.0},
    ]


def test_the_auc_is_the_chance_that_a_good_pair_scores_higher():
    assert auc(np.array([True, True, False, False]), np.array([0.9, 0.5, 0.5, 0.1])) == pytest.approx(3.5 / 4)


def test_what_is_ruled_out_counts_as_not_served_however_many_false_hits_are_allowed():
    same = np.array([True, True] + [False] * 10)
    scores = np.array([0.9, RULED_OUT] + [RULED_OUT] * 10)
    assert set(recalls(same, scores).values()) == {0.5}


def test_a_point_of_the_roc_serves_no_more_bad_pairs_than_it_says():
    same = np.array([True] * 4 + [False] * 100)
    scores = np.array([0.99, 0.97, 0.94, 0.5] + [0.95, 0.96] + [0.1] * 98)
    assert recalls(same, scores)["at 1 %"] == 0.25 or recalls(same, scores)["at 1 %"] == 0.5
    assert recalls(same, scores)["at 2 %"] == 1.0


def test_pairs_are_read_with_what_is_held_first(tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps({"a": "held", "b": "asked", "same": True, "kind": "k"}) + "\n")
    assert read_pairs(file) == [Pair("asked", "held", True, "k")]


def test_conversations_with_the_same_last_message_differ_in_context(tmp_path):
    def said(*contents):
        return [{"role": "user", "content": content} for content in contents]

    file = tmp_path / "conversations.jsonl"
    row = {"a": said("one", "last"), "b": said("two", "last"), "same_answer": False, "subtype": "swap"}
    file.write_text(json.dumps(row) + "\n" + json.dumps(row | {"b": said("one", "last")}) + "\n")
    apart, alike = read_conversations(file)
    assert apart.asked == apart.stored
    assert apart.asked_context != apart.stored_context
    assert alike.asked_context == alike.stored_context


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("how do i convert 15 dollars", "number"),
        ("set it for three people", "number"),
        ("what happened in 1999", "date"),
        ("is it open on friday", "date"),
        ("what is the capital of france", "entity"),
        ("How is Erlang used by people?", "entity"),
    ],
)
def test_one_word_is_edited_and_no_other(text, kind):
    (pair,) = edited([text, "Why was Haskell made so?"] if "Erlang" in text else [text], 1, seed=3)
    before, after = pair.stored.split(), pair.asked.split()
    assert (pair.kind, pair.same) == (kind, False)
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1


def test_edits_are_the_same_for_the_same_seed_and_of_every_kind():
    texts = [
        f"call {name} on {day} at {hour}" for name in ("john", "mary") for day in ("monday", "friday") for hour in "56"
    ]
    assert edited(texts, 6) == edited(texts, 6)
    assert {pair.kind for pair in edited(texts, 6)} == {"number", "date", "entity"}
    assert edited(["nothing to edit here"], 5) == []


def test_vectors_are_had_once_and_read_in_another_process(tmp_path):
    had = embedded(LexicalEmbedder(), ["one", "two", "one"])
    had.table.write(tmp_path)
    again = read_table(tmp_path)
    assert again.texts == ["one", "two"]
    assert np.array_equal(again.embed(["two", "one"]), LexicalEmbedder().embed(["two", "one"]))
    assert len(had.cpu_ms) == 2
    with pytest.raises(KeyError):
        again.embed(["three"])


def test_near_copies_are_as_near_as_paraphrases():
    vectors = LexicalEmbedder().embed(["one thing", "another thing"])
    copies = near_copies(vectors, 50)
    assert np.array_equal(copies[:2], vectors)
    cosines = np.sum(copies * vectors[np.arange(50) % 2], axis=1)[2:]
    assert 0.7 < cosines.min() <= cosines.max() < 0.97
    assert np.allclose(np.linalg.norm(copies, axis=1), 1.0, atol=1e-5)


def test_exact_hits_hide_wrong_ones():
    found = tally([Result.EXACT] * 6 + [Result.RIGHT, Result.WRONG, Result.MISS, Result.MISS])
    assert (found.hit_rate, found.wrong_share, found.semantic_wrong_share) == (0.8, 1 / 8, 0.5)
    assert tally([Result.MISS]).wrong_share == 0.0


def test_answers_are_exact_only_where_the_same_words_were_computed():
    requests = [request("a", "1"), request("a", "1"), request("near a", "1"), request("near a", "1"), request("b", "2")]
    answers = [None, "1", "1", "1", "1"]
    expected = [Result.MISS, Result.EXACT, Result.RIGHT, Result.RIGHT, Result.WRONG]
    assert results_of(requests, answers) == expected


TRACE = [request("a", "1"), request("b", "2"), request("near a", "1"), request("near b", "3"), request("near b", "3")]


def test_thresholds_answer_from_the_second_half_on():
    found = CosineReplay(TRACE, TABLE).run({"general": 0.8}, 2, apart=False)
    assert found.results == [Result.MISS, Result.MISS, Result.RIGHT, Result.WRONG, Result.WRONG]
    everything_computed = CosineReplay(TRACE, TABLE).run({}, 2, apart=False)
    assert everything_computed.results == [Result.MISS] * 4 + [Result.EXACT]
    assert everything_computed.nearest[0] is everything_computed.nearest[4] is None


def test_neighbours_of_another_tenant_or_kept_apart_category_are_none():
    of_others = [request("a", "1", tenant="one"), request("near a", "1", tenant="two")]
    assert CosineReplay(of_others, TABLE).run({"general": 0.0}, 0, apart=False).results == [Result.MISS] * 2
    mixed = [request("a", "1", category="docs"), request("near a", "1")]
    replay = CosineReplay(mixed, TABLE)
    assert replay.run({"general": 0.5}, 0, apart=True).results[1] is Result.MISS
    assert replay.run({"general": 0.5}, 0, apart=False).results[1] is Result.RIGHT


def test_the_best_threshold_serves_most_within_the_budget():
    nearest = [None] + [
        Near("docs", score, right) for score, right in [(0.9, True), (0.8, True), (0.7, False), (0.6, True)]
    ]
    assert best_uniform(nearest, num_exact=0, max_wrong=0.0) == 0.8
    assert best_uniform(nearest, num_exact=96, max_wrong=0.01) == 0.6
    assert best_uniform([Near("docs", 0.9, False)], num_exact=0, max_wrong=0.01) == NOTHING


def test_the_budget_goes_to_the_category_where_it_buys_most():
    rich = [Near("rich", 0.8, False)] + [Near("rich", 0.5, True)] * 20
    poor = [Near("poor", 0.9, False)] + [Near("poor", 0.5, True)] * 3
    found = best_by_category([*rich, *poor], num_exact=80, max_wrong=0.01)
    assert found == {"rich": 0.5, "poor": NOTHING}


@pytest.mark.parametrize("named", [True, False])
def test_the_cache_answers_a_trace_as_thresholds_do_when_it_goes_by_the_cosine(named):
    def empty(certifiers, clock):
        return in_memory(TABLE, CosineJudge("made up"), policy_of(0.5), certifiers, clock)

    expected = CosineReplay(TRACE, TABLE).run({"general": 0.8}, 2, apart=True).results
    fixed = Certifiers(lambda category: FixedThreshold(0.8))
    assert TraceReplay(TRACE, empty).calibrated(fixed, 2, named) == expected
    assert TraceReplay(TRACE, empty).online(fixed, named) == expected


def test_a_longer_trace_has_other_orders_and_no_other_requests():
    found = longer(TRACE, 12, seed=1)
    assert found[:5] == TRACE
    assert len(found) == 12
    assert {each.text for each in found} == {each.text for each in TRACE}
    assert all(one.at_s <= other.at_s for one, other in pairwise(found))
