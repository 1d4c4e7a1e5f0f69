"""The judges that have guards, and the weights of the one that has learned."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvstore.errors import CorruptFrame
from semantic_cache.alignment import Alignment
from semantic_cache.judge import CosineJudge
from semantic_cache.learned_judge import THRESHOLD, GuardedJudge, LearnedJudge, open_judge
from semantic_cache.looks import Looks
from semantic_cache.scoring import WEIGHTS, load_trees
from tests.semantic_cache import seen_words

JUDGE = open_judge(seen_words.look, "words that were seen")
PAIRS = st.tuples(*[st.text(max_size=80) | st.sampled_from(["how do I pay", "how do I not pay", "2 km", "3 km"])] * 2)


def test_same_words_are_certain_whatever_they_are() -> None:
    for text in ("how do I pay", "", "\x00", "как дела", "x" * 100_000):
        assert JUDGE.judge(text, f" {text}\n", 0.1).score == 1.0
        assert not JUDGE.judge(text, text, 0.1).conflicts


def test_conflict_scores_nothing_and_says_why() -> None:
    found = JUDGE.judge("is 14 enough", "is 15 enough", 0.99)
    assert (found.score, found.conflicts) == (0.0, ("number: 14 is not 15",))


def test_other_words_for_the_same_score_above_another_question() -> None:
    same = JUDGE.judge("How do I cancel my contract?", "how can I cancel the contract", 0.9)
    other = JUDGE.judge("How do I cancel my contract?", "how do I frame my contract", 0.9)
    assert same.score > THRESHOLD > other.score
    assert not same.conflicts + other.conflicts


@settings(max_examples=200, deadline=None)
@given(PAIRS)
def test_any_text_is_judged_the_same_again_and_both_ways(pair: tuple[str, str]) -> None:
    one, other = pair
    found = JUDGE.judge(one, other, 0.5)
    assert 0 <= found.score <= 1
    assert JUDGE.judge(one, other, 0.5) == found
    assert JUDGE.judge(other, one, 0.5).score == pytest.approx(found.score, abs=1e-6)


def test_fingerprint_changes_with_weights_embedder_and_judge(tmp_path: Path) -> None:
    content = json.loads(WEIGHTS.read_bytes())
    content["base"] += 1
    (tmp_path / "other.json").write_text(json.dumps(content))
    prints = {
        JUDGE.fingerprint,
        open_judge(seen_words.look, "another").fingerprint,
        LearnedJudge(seen_words.look, "words that were seen", load_trees(tmp_path / "other.json")).fingerprint,
        GuardedJudge(CosineJudge("words that were seen")).fingerprint,
        CosineJudge("words that were seen").fingerprint,
    }
    assert len(prints) == 5


def test_guards_stand_before_the_cosine() -> None:
    judge = GuardedJudge(CosineJudge("any"))
    assert judge.judge("sort ascending", "sort descending", 0.99).score == 0.0
    assert judge.judge("how do I pay", "how can I pay", 0.9).score == 0.9


def test_weights_are_of_these_numbers() -> None:
    trees = load_trees()
    assert trees.features == tuple(Alignment.__dataclass_fields__)


def test_score_never_falls_when_words_have_better_partners() -> None:
    trees = load_trees()
    rng = np.random.default_rng(3)
    for numbers in rng.random((200, len(trees.features))):
        better = numbers.copy()
        better[trees.features.index("worst")] += 0.2
        better[trees.features.index("cosine")] += 0.2
        assert trees.score(better) >= trees.score(numbers)


@pytest.mark.parametrize("cut", [0, 1, 100, 1000])
def test_weights_cut_short_are_refused(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "judge.json"
    path.write_bytes(WEIGHTS.read_bytes()[:cut])
    with pytest.raises(CorruptFrame, match=r"judge\.json"):
        load_trees(path)


@pytest.mark.parametrize("field", ["feature", "threshold", "leaf", "base", "features"])
def test_weights_that_do_not_fit_each_other_are_refused(field: str, tmp_path: Path) -> None:
    content = json.loads(WEIGHTS.read_bytes())
    content[field] = [[99]]
    path = tmp_path / "judge.json"
    path.write_text(json.dumps(content))
    with pytest.raises(CorruptFrame):
        load_trees(path)


def test_text_is_looked_at_once_until_others_push_it_out() -> None:
    asked: list[str] = []

    def look(text: str) -> seen_words.SeenWords:
        asked.append(text)
        return seen_words.look(text)

    looks = Looks(look, capacity=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        looks.look(text)
    assert asked == ["a", "b", "c", "b"]
