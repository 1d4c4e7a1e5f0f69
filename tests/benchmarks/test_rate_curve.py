"""Bytes at equal KL: between a family's levels by the logarithm, at its ends as they are."""

import math

import pytest

from benchmarks.rate_curve import bits_at, draw, times_fewer_bytes

CURVE = [(0.1, 2.0), (0.001, 4.0)]


def test_between_two_levels_bits_are_linear_in_the_logarithm_of_the_kl():
    assert bits_at(0.01, CURVE) == pytest.approx(3.0)
    assert bits_at(0.1 / math.sqrt(10), CURVE) == pytest.approx(2.5)


def test_at_a_level_its_own_bits_are_the_answer():
    assert bits_at(0.001, CURVE) == pytest.approx(4.0)
    assert bits_at(0.1, CURVE) == pytest.approx(2.0)


def test_a_family_that_is_never_that_good_has_no_answer():
    assert bits_at(0.0005, CURVE) is None


def test_a_family_that_is_always_better_costs_its_coarsest_level():
    assert bits_at(1.0, CURVE) == 2.0
    assert bits_at(0.01, [(0.0, 11.0)]) == 11.0


def test_fewer_bytes_are_counted_against_a_familys_finest_level_where_it_is_never_that_good():
    assert times_fewer_bytes(0.01, CURVE, [(0.01, 6.0)]) == pytest.approx(2.0)
    assert times_fewer_bytes(0.01, CURVE, [(0.05, 4.5), (0.5, 2.0)]) == pytest.approx(1.5)
    assert math.isnan(times_fewer_bytes(0.0001, CURVE, CURVE))


def test_the_curves_become_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    curves = {"one": CURVE, "exact": [(0.0, 11.0)]}
    draw({"questions": curves, "code": curves}, "title", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
