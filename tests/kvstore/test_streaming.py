"""The streaming controller's choices: in time where anything is, never for more loss than the link asks for."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore.streaming import Offer, Outlook, choose, finish_s, refine

QUALITIES = ("high", "balanced", "small")


@st.composite
def offers_of(draw, most=12):
    """Chunks whose finer qualities take more bytes and no less time to decode."""
    sizes = sorted(draw(st.tuples(*[st.integers(1, 10**6)] * 3)), reverse=True)
    decode_s = sorted(draw(st.tuples(*[st.floats(0, 0.1)] * 3)), reverse=True)
    first, growth = draw(st.floats(0.001, 1)), draw(st.floats(0, 0.1))
    num_bytes, seconds = dict(zip(QUALITIES, sizes, strict=True)), dict(zip(QUALITIES, decode_s, strict=True))
    return [Offer(num_bytes, seconds, first + growth * chunk) for chunk in range(draw(st.integers(1, most)))]


BANDWIDTHS = st.floats(1e3, 1e9)
OUTLOOKS = st.builds(Outlook, BANDWIDTHS, st.floats(0, 1), st.floats(-1, 5))
HELD = st.sampled_from([None, *QUALITIES])


def offer(recompute_s=1.0):
    return Offer({"high": 40, "balanced": 20, "small": 10}, dict.fromkeys(QUALITIES, 0.0), recompute_s)


@pytest.mark.parametrize(
    ("left_s", "chosen"), [(5.0, None), (3.9, "high"), (1.9, "balanced"), (0.9, "small"), (0.4, "small")]
)
def test_the_least_lossy_way_that_is_in_time_for_all_missing_chunks_is_chosen(left_s, chosen):
    assert choose([offer()] * 4, [], QUALITIES, Outlook(50, 0, left_s), caution=1) == chosen


def test_a_fine_quality_must_be_in_time_at_a_fraction_of_the_bandwidth():
    chunks, outlook = [offer(math.inf)] * 4, Outlook(50, 0, 3.9)
    assert choose(chunks, [], QUALITIES, outlook, caution=1) == "high"
    assert choose(chunks, [], QUALITIES, outlook, caution=2) == "balanced"
    assert choose(chunks, [], QUALITIES, outlook, caution=math.inf) == "small"


def test_where_nothing_is_in_time_the_next_chunk_comes_by_the_way_that_has_it_sooner():
    late = Outlook(50, 0, -1)
    assert choose([offer(0.1)], [], QUALITIES, late) is None
    assert choose([offer(0.3)], [], QUALITIES, late) == "small"
    busy = Outlook(50, 0.15, -1)  # the fetch is done soon after what is being computed, and costs no more then
    assert choose([offer(0.1)], [], QUALITIES, busy) == "small"


def test_behind_a_lossy_chunk_others_are_computed_only_where_that_is_sooner():
    chunks, enough = [offer(1.0)] * 4, Outlook(50, 0, 5.0)
    assert choose(chunks, [None], QUALITIES, enough, caution=1) is None
    assert choose(chunks, ["small"], QUALITIES, enough, caution=1) == "high"
    assert choose(chunks, ["small"], QUALITIES, Outlook(5, 0, 5.0), caution=1) is None


@given(offers_of(), st.floats(0, 1), st.floats(-1, 5))
def test_without_bandwidth_chunks_are_computed(offers, backlog_s, left_s):
    assert choose(offers, [], QUALITIES, Outlook(0.0, backlog_s, left_s)) is None


@given(offers_of(), OUTLOOKS, st.floats(1, 100))
def test_more_bandwidth_never_means_a_coarser_quality(offers, outlook, times):
    more = Outlook(outlook.bandwidth * times, outlook.backlog_s, outlook.left_s)
    slow, fast = choose(offers, [], QUALITIES, outlook), choose(offers, [], QUALITIES, more)
    if slow is not None and fast is not None:
        assert QUALITIES.index(fast) <= QUALITIES.index(slow)
    else:
        assert slow is None or fast is not None, "computing in time does not depend on the link"


@given(offers_of(), OUTLOOKS)
def test_the_same_outlook_means_the_same_choice(offers, outlook):
    assert choose(offers, [], QUALITIES, outlook) == choose(list(offers), [], QUALITIES, outlook)


@given(offers_of(), OUTLOOKS, st.data())
def test_a_refinement_is_finer_than_what_is_held_and_in_time(offers, outlook, data):
    held = data.draw(st.lists(HELD, min_size=len(offers), max_size=len(offers)))
    chosen = refine(offers, held, QUALITIES, outlook)
    if chosen is not None:
        chunk, quality = chosen
        assert QUALITIES.index(quality) < QUALITIES.index(held[chunk]), "a computed chunk is exact already"
        assert finish_s([offers[chunk].step(quality, held[chunk])], outlook) <= outlook.left_s


def test_the_latest_chunks_are_refined_first_and_all_alike_where_time_allows():
    chunks = [offer()] * 3
    assert refine(chunks, ["small", "small", None], QUALITIES, Outlook(50, 0, 1.3)) == (1, "high")
    assert refine(chunks, ["small", "high", None], QUALITIES, Outlook(50, 0, 1.3)) == (0, "high")
    assert refine(chunks, ["small", "small", "small"], QUALITIES, Outlook(50, 0, 0.7)) == (2, "balanced")
    assert refine(chunks, ["small", "small", "small"], QUALITIES, Outlook(50, 0, 0.3)) == (2, "balanced")
    assert refine(chunks, ["small", "small", "small"], QUALITIES, Outlook(50, 0, 0.1)) is None
    assert refine(chunks, ["high", None, "high"], QUALITIES, Outlook(50, 0, 9.0)) is None


def test_a_step_waits_for_its_own_bytes_and_for_the_steps_before_it():
    assert finish_s([(50, 0.5), (50, 0.5)], Outlook(50, 0, 0)) == 2.5
    assert finish_s([(50, 2.0), (50, 0.5)], Outlook(50, 0, 0)) == 3.5
    assert finish_s([(0, 2.0), (50, 0.5)], Outlook(50, 1.0, 0)) == 3.5
    assert finish_s([(1, 0.5)], Outlook(0.0, 0, 0)) == math.inf
