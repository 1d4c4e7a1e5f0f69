"""The streaming simulation: the link, the policies over it, and what holds for the controller at any bandwidth."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bandwidth import GBIT, Trace, random_walk, read_trace, steps
from benchmarks.stream_inputs import Measured
from benchmarks.stream_picture import draw
from benchmarks.stream_simulation import Policy, simulate
from benchmarks.streaming import POLICIES, _checks
from kvstore.streaming import CAUTION, Offer, Outlook, finish_s
from tests.kvstore.test_streaming import BANDWIDTHS, QUALITIES, offers_of

ADAPTIVE = Policy(QUALITIES, recompute=True, refine=True, caution=CAUTION)
TEXT = Policy((), recompute=True)
NUM_BYTES = {"high": 400, "balanced": 200, "small": 100}
OFFERS = [Offer(NUM_BYTES, dict.fromkeys(QUALITIES, 0.01), 5.0)] * 4


def test_bytes_arrive_as_the_trace_lets_them_through():
    trace = Trace((0.0, 1.0, 2.0), (10.0, 0.0, 5.0))
    assert trace.arrival_s(0.0, 10) == 1.0
    assert trace.arrival_s(0.5, 10) == 3.0
    assert trace.arrival_s(9.0, 10) == 11.0
    assert [trace.rate(at_s) for at_s in (0.0, 1.0, 7.0)] == [10.0, 0.0, 5.0]


@pytest.mark.parametrize("points", [((), ()), ((1.0,), (1.0,)), ((0.0, 0.0), (1.0, 1.0)), ((0.0,), (0.0,))])
def test_a_trace_that_makes_no_sense_is_refused(points):
    with pytest.raises(ValueError, match="trace"):
        Trace(*points)


def test_traces_come_in_steps_from_a_seed_or_from_a_file(tmp_path):
    (tmp_path / "trace.txt").write_text("0 2\n1.5 0.2\n")
    assert read_trace(tmp_path / "trace.txt") == Trace((0.0, 1.5), (2 * GBIT, 0.2 * GBIT))
    assert steps((1, 2), 0.5, repeats=2).starts == (0.0, 0.5, 1.0, 1.5)
    walk = random_walk(0.1, 1.0, 0.1, 100, seed=1)
    assert walk == random_walk(0.1, 1.0, 0.1, 100, seed=1)
    assert 0.0999 * GBIT <= min(walk.rates) < max(walk.rates) <= 1.0001 * GBIT
    (tmp_path / "bad.txt").write_text("0 2 3\n")
    with pytest.raises(ValueError, match="every line"):
        read_trace(tmp_path / "bad.txt")


@given(offers_of(), BANDWIDTHS, st.floats(0, 5))
def test_at_a_steady_bandwidth_the_target_is_met_whenever_one_way_for_all_meets_it(offers, bandwidth, target_s):
    outlook = Outlook(bandwidth, 0.0, target_s)
    best_s = min(finish_s([offer.step(way) for offer in offers], outlook) for way in (None, *QUALITIES))
    if best_s <= target_s * (1 - 1e-9):
        assert simulate(offers, ADAPTIVE, Trace((0.0,), (bandwidth,)), 0.0, target_s).ttft_s <= target_s + 1e-9


@given(offers_of(), BANDWIDTHS, st.floats(0, 5))
def test_at_a_steady_bandwidth_nothing_is_later_than_computing_all(offers, bandwidth, target_s):
    trace = Trace((0.0,), (bandwidth,))
    text_s = simulate(offers, TEXT, trace, 0.0, target_s).ttft_s
    assert simulate(offers, ADAPTIVE, trace, 0.0, target_s).ttft_s <= text_s + 1e-9


def test_a_drop_in_bandwidth_costs_quality_and_not_time():
    trace = Trace((0.0, 0.5), (1000.0, 200.0))
    rash = simulate(OFFERS, Policy(QUALITIES), trace, 0.0, 1.65)
    ours = simulate(OFFERS, ADAPTIVE, trace, 0.0, 1.65)
    assert rash.ttft_s > 1.65 >= ours.ttft_s
    assert set(ours.held) <= {"small", "balanced", "high"}


def test_time_that_is_left_is_spent_on_refinements():
    run = simulate(OFFERS, ADAPTIVE, Trace((0.0,), (1000.0,)), 0.0, 1.7)
    assert run.held == ["high"] * 4
    assert run.ttft_s <= 1.7
    assert run.num_bytes == 4 * 400, "refining costs only the bytes that were missing"


def test_a_refinement_that_does_not_come_is_not_waited_for():
    run = simulate(OFFERS, ADAPTIVE, Trace((0.0, 0.51), (1000.0, 1.0)), 0.0, 1.7)
    assert run.held == ["small", "small", "small", "balanced"]
    assert run.num_bytes > 3 * 100 + 200, "it was asked for"
    assert run.ttft_s <= 1.7


def test_a_fixed_quality_never_computes_and_text_only_never_fetches():
    trace = Trace((0.0,), (1.0,))
    assert simulate(OFFERS, Policy(("high",)), trace, 0.0, 1.0).held == ["high"] * 4
    text = simulate(OFFERS, TEXT, trace, 0.0, 1.0)
    assert (text.held, text.num_bytes, text.ttft_s) == ([None] * 4, 0, 20.0)


def test_a_faster_machine_computes_and_decodes_faster():
    measured = Measured(NUM_BYTES, {"small": 0.2}, {"small": 0.04}, (1.0, 0.5))
    offers = measured.offers(256, times_faster=10.0)
    assert [offer.recompute_s for offer in offers] == pytest.approx([0.1, 0.15])
    assert offers[0].decode_s["small"] == pytest.approx(0.02)


def test_the_checks_compare_with_the_best_of_the_others_and_with_computing_all():
    offers = [Offer(dict.fromkeys(_names(POLICIES), 100), dict.fromkeys(_names(POLICIES), 0.0), 1.0)] * 2
    trace = Trace((0.0,), (1000.0,))
    runs = {name: {1.0: [simulate(offers, policy, trace, 0.0, 1.0)]} for name, policy in POLICIES.items()}
    share, late = _checks("any", runs)
    assert (share.value, share.bar, share.ok) == (1.0, 1.0, True)
    assert late.ok
    assert math.isfinite(late.value)


def _names(policies):
    return {quality for policy in policies.values() for quality in policy.qualities}


def test_the_shares_become_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    points = [{"policy": "adaptive", "target_s": target, "met": 1.0, "kl": 0.0} for target in (0.5, 1.0)]
    draw({"steps": points, "walk": points}, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
