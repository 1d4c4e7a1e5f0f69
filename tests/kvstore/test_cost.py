"""A plan is never expected to be slower than computing, follows what is measured, and asks again what was slow."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bandwidth import GBIT, steps
from kvstore import AlwaysLoad, CostModel, Held

CHUNK, MODEL = 128, "model"
QUALITIES = ("high", "small")
SIZES = {"high": 2_000_000, "small": 250_000}


def measured(bandwidth=1e8, latency_s=0.001, decode_s=0.001, token_s=0.001, pair_s=1e-7, sizes=SIZES, tier="disk"):
    """A model that has seen a steady machine. `decode_s` is for a chunk, `token_s` and `pair_s` are the prefill's."""
    cost = CostModel(decoders=1)
    for turn in range(60):
        for num_bytes in sizes.values():
            cost.got(tier, num_bytes, latency_s + num_bytes / bandwidth)
        for quality in sizes:
            cost.decoded(MODEL, quality, CHUNK, decode_s)
        num_tokens, context = ((2048, 0), (512, 0), (16, 2048), (256, 1024))[turn % 4]
        cost.computed(MODEL, num_tokens, context, prefill_s(num_tokens, context, token_s, pair_s))
    return cost


def prefill_s(num_tokens, context, token_s=0.001, pair_s=1e-7):
    return 0.01 + token_s * num_tokens + pair_s * num_tokens * (context + num_tokens / 2)


def plan_of(cost, num_chunks, qualities=("high",), target_s=math.inf, tier="disk", tail=16):
    held = [Held(tier, SIZES)] * num_chunks
    return cost.plan(MODEL, held, CHUNK, CHUNK * num_chunks + tail, qualities, target_s)


@given(
    bandwidth=st.floats(1e4, 1e10),
    latency_s=st.floats(0, 1),
    decode_s=st.floats(1e-5, 1),
    token_s=st.floats(1e-5, 0.01),
    num_chunks=st.integers(0, 40),
    target_s=st.floats(0, 10),
)
def test_no_plan_is_expected_to_be_slower_than_computing(bandwidth, latency_s, decode_s, token_s, num_chunks, target_s):
    cost = measured(bandwidth, latency_s, decode_s, token_s)
    for target in (math.inf, target_s):
        plan = plan_of(cost, num_chunks, QUALITIES, target)
        assert 0 <= plan.num_chunks <= num_chunks
        assert plan.expected_s <= plan.computing_s


@given(st.lists(st.floats(1e4, 1e10), min_size=2, max_size=5), st.integers(1, 20))
def test_more_bandwidth_loads_no_less_and_is_no_later(bandwidths, num_chunks):
    plans = [plan_of(measured(bandwidth), num_chunks) for bandwidth in sorted(bandwidths)]
    loaded = [plan.num_chunks for plan in plans]
    assert loaded == sorted(loaded)
    for slower, faster in pairwise(plans):
        assert faster.expected_s <= slower.expected_s * 1.05  # both were learnt


def test_on_either_side_of_the_crossover_the_sooner_way_is_taken():
    computing_s = prefill_s(8 * CHUNK + 16, 0)
    crossover = 8 * SIZES["high"] / (computing_s - prefill_s(16, 8 * CHUNK))
    assert plan_of(measured(1.3 * crossover, 0.0), 8).num_chunks == 8
    assert plan_of(measured(0.7 * crossover, 0.0), 8).num_chunks == 0


def test_only_what_lies_in_the_fast_tier_is_loaded_where_the_other_one_is_slow():
    cost = measured(1e9)
    for _ in range(5):
        cost.got("far", SIZES["high"], 3.0)
    held = [Held("disk", SIZES)] * 3 + [Held("far", SIZES)] * 3
    assert cost.plan(MODEL, held, CHUNK, 6 * CHUNK + 16, ["high"]).num_chunks == 3


def test_nothing_held_is_nothing_to_load():
    assert plan_of(measured(), 0).num_chunks == 0
    assert plan_of(CostModel(), 0).num_chunks == 0


def test_without_measurements_everything_is_loaded():
    assert plan_of(CostModel(), 5).num_chunks == 5
    assert plan_of(measured(), 5, tier="a tier nobody asked yet").num_chunks == 5


def test_always_loading_is_the_control():
    assert plan_of(AlwaysLoad(), 5).num_chunks == 5


def test_a_target_takes_the_finest_quality_in_time():
    cost = measured(bandwidth=1e7, latency_s=0.0)  # 0.2 s for a chunk at high, 0.025 at small; 0.15 to compute one
    assert plan_of(cost, 8, QUALITIES).quality == "high"
    in_time = plan_of(cost, 8, QUALITIES, target_s=0.5)
    assert (in_time.quality, in_time.num_chunks) == ("small", 8)
    assert in_time.expected_s <= 0.5
    assert plan_of(cost, 8, QUALITIES, target_s=0.001).quality == "small"  # late either way, least so at small


@pytest.mark.parametrize("gbits", [(2, 0.4, 1), (0.4, 0.3, 0.5), (1, 1, 1)])
def test_asked_again_behind_every_chunk_it_meets_a_target_under_a_changing_bandwidth(gbits):
    """At the smallest quality even the trace's lowest bandwidth has all chunks in time, so there is a way."""
    trace, num_chunks = steps(gbits, 0.2, repeats=20), 16
    lowest = min(gbits) * GBIT
    cost = measured(trace.rate(0), latency_s=0.0, decode_s=1e-4)
    target_s = num_chunks * SIZES["small"] / lowest + SIZES["high"] / lowest * 8
    now_s, taken = 0.0, []
    for chunk in range(num_chunks):
        left = num_chunks - chunk
        plan = plan_of(cost, left, QUALITIES, target_s - now_s, tail=1)
        size = SIZES[plan.quality]
        arrived_s = trace.arrival_s(now_s, size)
        cost.got("disk", size, arrived_s - now_s)
        now_s = arrived_s
        taken.append(plan.quality)
    assert now_s + prefill_s(1, num_chunks * CHUNK) <= target_s
    assert "high" in taken


def test_what_was_declined_is_asked_again_and_that_costs_a_hundredth():
    cost = measured(bandwidth=1e5)
    plan, loads, spent_s, computed_s = plan_of(cost, 8), 0, 0.0, 0.0
    assert plan.num_chunks == 0
    for _ in range(2000):
        computed_s += plan.computing_s
        if cost.retry_due(plan):
            assert not cost.retry_due(plan)  # one at a time
            cost.retried(2.0)
            loads, spent_s = loads + 1, spent_s + 2.0
    assert loads >= 5
    assert spent_s <= 0.01 * computed_s + 2.0 + 0.1


def test_a_tier_that_recovers_is_loaded_from_again():
    cost = measured(bandwidth=1e5, latency_s=0.0)
    for _ in range(5000):
        plan = plan_of(cost, 8)
        if plan.num_chunks:
            break
        if cost.retry_due(plan):
            cost.got("disk", SIZES["high"], SIZES["high"] / 1e9)
            cost.retried(SIZES["high"] / 1e9)
    assert plan.num_chunks == 8


def test_the_prefill_is_learnt_for_lengths_not_seen():
    cost = measured()
    plan = plan_of(cost, 10, tail=100)
    assert plan.computing_s == pytest.approx(prefill_s(1380, 0), rel=0.15)


def test_short_chunks_do_not_spoil_what_is_expected_of_long_ones():
    cost, held = CostModel(decoders=1), [Held("memory", {"high": 1})]
    for _ in range(20):
        cost.decoded(MODEL, "high", 128, 0.0258)
        cost.decoded(MODEL, "high", 5, 0.0018)
    assert cost.loading_s(MODEL, held, "high", 128) == pytest.approx(0.0258, rel=0.25)
    assert cost.loading_s(MODEL, held, "high", 5) == pytest.approx(0.0018, rel=0.5)


@pytest.mark.parametrize(("loading_s", "share"), [(0.0, 0.1), (0.5, 0.25), (1.0, 0.5), (1.8, 0.6), (2.0, None)])
def test_as_much_is_recomputed_as_takes_no_longer_than_loading(loading_s, share):
    cost = CostModel()
    for _ in range(9):
        cost.computed(MODEL, 2000, 0, 2.0)
    found = cost.share_to_recompute(MODEL, loading_s, 2000, 0, (0.1, 0.6))
    assert found == (share if share is None else pytest.approx(share, rel=0.01))


def test_the_least_is_recomputed_while_nothing_was_measured_and_by_who_always_loads():
    assert CostModel().share_to_recompute(MODEL, 99.0, 2000, 0, (0.1, 0.6)) == 0.1
    always = AlwaysLoad()
    for _ in range(9):
        always.computed(MODEL, 2000, 0, 0.001)
    assert always.share_to_recompute(MODEL, 99.0, 2000, 0, (0.1, 0.6)) == 0.1


def test_what_a_prompt_is_spared_does_not_depend_on_how_it_is_cut():
    cost = CostModel()
    assert cost.spared_s("m", 200, 0) == 0
    for num_tokens in (100, 1000, 4000) * 3:
        cost.computed("m", num_tokens, 0, 0.01 + 1e-4 * num_tokens + 1e-8 * num_tokens**2)
    whole = cost.spared_s("m", 200, 0)
    assert 0 < whole < cost.computing_s("m", 200)
    assert cost.spared_s("m", 100, 0) + cost.spared_s("m", 100, 100) == pytest.approx(whole)
