"""Records of documents: whole, they come back as they were; otherwise they are none."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_cache.document_record import (
    held_of,
    pack_document,
    pack_held,
    pack_id,
    pack_vector,
    unpack_document,
    unpack_held,
    unpack_id,
    unpack_vector,
)
from semantic_cache.documents import Document
from semantic_cache.packed_vectors import pack
from semantic_cache.query import Query
from tests.semantic_cache.made_up import document, vector

numbers = st.integers(0, 2**63 - 1)
texts = st.text(st.characters(exclude_categories=()), max_size=40)  # half surrogate pairs too
names = st.text(max_size=20)
times = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e18, max_value=1e18)
documents = st.builds(
    Document,
    query=st.builds(Query, texts, st.binary(max_size=32), names, names, st.none() | texts),
    category=texts,
    response=st.binary(max_size=300),
    writer=texts,
    saved_at_s=times,
    expires_at_s=times | st.just(math.inf),
    compute_s=times,
)
HELD = held_of(3, document("why?", tenant="alice"), 77)
ROWS = {
    "document": (pack_document(3, document("why?")), lambda row: unpack_document(3, row)),
    "held": (pack_held(HELD), lambda row: unpack_held(3, row)),
    "vector": (pack_vector(pack(3, vector(1), 8)), lambda row: unpack_vector(3, row, 8)),
    "id": (pack_id(3, b"key"), lambda row: unpack_id(row, b"key")),
}
each_row = pytest.mark.parametrize(("row", "unpack"), ROWS.values(), ids=ROWS)


@given(numbers, documents)
def test_a_document_comes_back_as_it_was(number, given_document):
    assert unpack_document(number, pack_document(number, given_document)) == given_document


@given(numbers, documents)
def test_what_is_remembered_comes_back_as_it_was(number, given_document):
    held = held_of(number, given_document, 5)
    assert unpack_held(number, pack_held(held)) == held


@each_row
def test_a_row_cut_anywhere_is_none(row, unpack):
    assert unpack(row) is not None
    assert all(unpack(row[:length]) is None for length in range(len(row)))
    assert unpack(row + b"\0") is None


@each_row
def test_a_row_with_any_bit_flipped_is_none(row, unpack):
    for bit in range(8 * len(row)):
        flipped = bytearray(row)
        flipped[bit // 8] ^= 1 << bit % 8
        assert unpack(bytes(flipped)) is None


@each_row
@given(foreign=st.binary(max_size=200))
def test_what_is_none_of_ours_is_none(row, unpack, foreign):
    assert unpack(foreign) is None


def test_a_whole_row_in_the_place_of_another_is_none():
    assert unpack_document(4, ROWS["document"][0]) is None
    assert unpack_held(4, ROWS["held"][0]) is None
    assert unpack_vector(4, ROWS["vector"][0], 8) is None
    assert unpack_vector(3, ROWS["vector"][0], 9) is None
    assert unpack_id(ROWS["id"][0], b"another key") is None


def test_a_document_without_end_never_expires():
    forever = replace(document("a"), expires_at_s=math.inf)
    assert unpack_document(0, pack_document(0, forever)).expires_at_s == math.inf
