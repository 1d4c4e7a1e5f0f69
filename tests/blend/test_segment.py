"""Segments of a prompt: where they stand, and whose they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blend import Layout, identity_of_segment
from kvstore import Identity, InvalidRequest, chunk_keys
from tests.kv import SPEC


@pytest.mark.parametrize("segments", [((2, 2),), ((3, 1),), ((0, 11),), ((-1, 3),), ((0, 5), (4, 8)), ((5, 8), (0, 2))])
def test_segments_that_are_none_are_refused(segments):
    with pytest.raises(InvalidRequest, match="segment"):
        Layout(tuple(range(10)), segments)


@given(st.integers(1, 5000), st.integers(1, 700))
def test_long_segments_are_cut_into_parts_of_about_equal_length(length, most):
    parts = Layout(tuple(range(length)), ((0, length),)).cut(most).segments
    assert [start for start, _ in parts] == [0, *(end for _, end in parts[:-1])]
    assert parts[-1][1] == length
    sizes = [end - start for start, end in parts]
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1


def test_a_segment_computed_alone_is_the_chunk_of_a_prompt_that_is_just_it():
    identity, tokens = Identity(SPEC, "lossless{}", 128, "alice"), list(range(40))
    alone = identity_of_segment(identity, 40)
    assert chunk_keys(alone, tokens) == chunk_keys(Identity(SPEC, "lossless{}", 40, "alice"), tokens)


def test_what_stood_before_it_tenant_and_length_make_another_segment():
    identity, tokens = Identity(SPEC, "lossless{}", 128, "alice"), list(range(40))
    keys = {
        chunk_keys(given, tokens)[0]
        for given in (
            identity_of_segment(identity, 40),
            identity_of_segment(identity, 40, (1,)),
            identity_of_segment(identity, 40, (1, 2)),
            identity_of_segment(Identity(SPEC, "lossless{}", 128, "bob"), 40),
            identity_of_segment(identity, 39),
        )
    }
    assert len(keys) == 5
