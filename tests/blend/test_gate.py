"""The gate's arithmetic: which share passes, when a served model has to stop, what a file may hold."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blend.gate import Measured, Verdict, Watch, words_f1
from kvstore import InvalidRequest


def verdict(bound, *points):
    measured = tuple(Measured(share, kl, 0.9, 0.5, 0.3, 3.0) for share, kl in points)
    return Verdict("spec", "lossless{}", "cpu", "hkvd", (1,), bound, 4, 0.4, measured)


def test_the_smallest_share_within_the_bound_passes():
    assert verdict(0.05, (0.1, 0.2), (0.2, 0.04), (0.3, 0.01)).passed.share == 0.2
    assert verdict(0.05, (0.1, 0.05)).passed.share == 0.1


def test_a_share_below_one_that_does_not_pass_is_luck():
    assert verdict(0.05, (0.1, 0.01), (0.2, 0.2), (0.3, 0.03)).passed.share == 0.3


@pytest.mark.parametrize("kl", [0.06, math.inf, math.nan])
def test_a_model_that_is_beyond_the_bound_does_not_pass(kl):
    assert verdict(0.05, (0.1, 0.01), (0.5, kl)).passed is None


def test_a_verdict_comes_back_from_its_file(tmp_path):
    given = verdict(0.05, (0.1, 0.2), (0.2, 0.04))
    given.save(tmp_path / "directory" / "model.gate.json")
    assert Verdict.load(tmp_path / "directory" / "model.gate.json") == given


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"measured": [1]}', '{"measured": [], "behind": 3}', "\xff"])
def test_other_files_are_refused(content, tmp_path):
    (tmp_path / "file").write_text(content, encoding="latin-1")
    with pytest.raises(InvalidRequest, match="kvstore gate"):
        Verdict.load(tmp_path / "file")


def test_a_watch_needs_a_few_samples_and_then_goes_by_their_mean():
    watch = Watch(0.05)
    for _ in range(4):
        watch.saw(1.0)
        assert watch.within
    watch.saw(1.0)
    assert not watch.within


def test_a_watch_forgets():
    watch = Watch(0.05)
    for kl in [1.0] * 5 + [0.01] * 50:
        watch.saw(kl)
    assert watch.within


def test_a_kl_that_is_no_number_ends_it():
    watch = Watch(0.05)
    for kl in (0.0, 0.0, 0.0, 0.0, math.nan):
        watch.saw(kl)
    assert not watch.within


def test_words_are_compared_without_case_articles_and_punctuation():
    assert words_f1("The Exeter College.", ["Oxford", "Exeter college"]) == 1.0
    assert words_f1("Exeter", ["Exeter College"]) == pytest.approx(2 / 3)
    assert words_f1("Cambridge", ["Exeter College"]) == 0.0
    assert words_f1("anything", []) == 0.0


@given(st.text(), st.lists(st.text(), max_size=3))
def test_f1_is_a_share(answer, right):
    assert 0.0 <= words_f1(answer, right) <= 1.0
    assert words_f1(answer, [*right, answer]) == 1.0
