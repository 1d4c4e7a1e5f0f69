"""What two questions come to, by the guards of a category and what it trusts."""

import pytest

from semantic_cache.candidates import Candidates
from semantic_cache.category import Category, Guards
from semantic_cache.judge import Judge, Judgement


class Sure(Judge):
    """Says what it is told to."""

    fingerprint = "sure"

    def __init__(self, *conflicts, vouches=True, is_edit=False):
        self.conflicts, self.vouches, self.is_edit = conflicts, vouches, is_edit

    def judge(self, asked, stored, cosine):
        return Judgement(0.0 if self.conflicts else 0.6, self.conflicts, self.is_edit)


STRICT, GRADED = Category("strict", trusted=0.55), Category("graded", guards=Guards.GRADED, trusted=0.55)


def scored(category, *conflicts, **judging):
    return Candidates(None, Sure(*conflicts, **judging)).scored(category, "asked", "stored", 0.9)


def test_a_strict_category_goes_by_the_judge_and_a_graded_one_by_the_cosine():
    assert (scored(STRICT).score, scored(GRADED).score) == (0.6, 0.9)
    assert scored(STRICT, "negation: not").ruled_out == "negation: not"
    graded = scored(GRADED, "negation: not", "name: Ada")
    assert graded.ruled_out is None
    assert graded.score == pytest.approx(0.84)


def test_a_number_rules_out_everywhere():
    assert scored(GRADED, "negation: not", "number: 2 is not 3").ruled_out == "number: 2 is not 3"


def test_a_not_alone_rules_out_everywhere():
    assert scored(GRADED, "negation: not", is_edit=True).ruled_out == "negation: not"
    assert scored(GRADED, "tense: past is not present", is_edit=True).ruled_out is None


def test_a_category_trusts_what_a_judge_vouches_for_that_sees_words():
    assert scored(STRICT).vouched
    assert scored(GRADED).vouched
    assert not scored(GRADED, "negation: not").vouched
    assert not scored(GRADED, vouches=False).vouched
    assert not scored(Category("wary", trusted=0.7)).vouched
