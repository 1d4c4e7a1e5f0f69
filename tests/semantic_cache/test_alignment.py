"""Word alignment, of words whose vectors are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_cache.alignment import Alignment, align
from semantic_cache.guards import read
from tests.semantic_cache.seen_words import look


def aligned(one: str, other: str) -> Alignment:
    mine, theirs = read(one), read(other)
    return align(mine, theirs, look(mine.text), look(theirs.text))


def test_same_words_all_have_partners() -> None:
    found = aligned("How do I cancel my contract?", "how can I cancel the contract")
    assert (found.worst, found.unmatched_more, found.own_more, found.shared) == (1.0, 0.0, 0.0, 1.0)


def test_words_that_can_stand_for_each_other_are_partners() -> None:
    assert aligned("where is the nearest shop", "where is the nearest store").worst == 1.0


def test_word_misspelled_is_the_word() -> None:
    assert aligned("emergency plumbing", "emergancy plumbing").worst == 1.0


def test_word_in_place_of_another_has_no_partner() -> None:
    found = aligned("change my delivery address", "change my billing address")
    assert found.swapped == 1.0
    assert found.worst < 0.6


def test_word_more_is_seen() -> None:
    found = aligned("what is my balance", "what is my joint balance")
    assert (found.added, found.swapped, found.own_less) == (1.0, 0.0, 0.0)
    assert found.worst < 0.6


def test_politeness_is_no_content() -> None:
    assert aligned("um hi, where is my parcel please", "where is my parcel").own_more == 0.0


def test_text_that_the_embedder_cut_is_aligned_as_far_as_it_goes() -> None:
    mine = read("open the door of the house")
    assert np.isfinite(align(mine, mine, look("open"), look("")).numbers()).all()


@settings(max_examples=200, deadline=None)
@given(*[st.text(alphabet="abcd how is to 12.,?'", max_size=60)] * 2)
def test_numbers_are_finite_and_the_same_both_ways(one: str, other: str) -> None:
    found = aligned(one, other).numbers()
    assert np.isfinite(found).all()
    assert ((found >= 0) & (found <= 1 + 1e-6)).all()
    assert aligned(other, one).numbers() == pytest.approx(found, abs=1e-6)
