"""What the rate-distortion benchmark measures with, and what it says of the curves."""

from pathlib import Path

import pytest
import torch

from benchmarks.rate_distortion import _at_equal_kl, _checks
from connectors.hf.scoring import distortion
from tests.kv import SPEC

CURVES = {
    "transform": [(0.001, 3.0), (0.01, 1.75), (0.1, 0.5)],
    "cachegen": [(0.02, 4.0), (0.2, 3.0)],
    "int8": [(0.0001, 8.75)],
}


def test_at_equal_kl_every_family_is_compared_with_every_other():
    rows = {(row["at_kl"], row["family"]): row for row in _at_equal_kl("a.json", CURVES, SPEC)}
    assert rows[0.01, "transform"]["x_fewer_than_int8"] == pytest.approx(5.0)
    assert rows[0.01, "transform"]["x_fewer_than_cachegen"] is None, "none of its levels is that good"
    assert rows[0.04, "cachegen"]["bits"] == pytest.approx(4 - 0.30103, abs=1e-4)


def test_the_bars_are_higher_on_questions_than_elsewhere():
    checks = {check.name: check for check in _checks(Path("musique.json"), CURVES)}
    assert checks["transform: bits at KL 0.01, musique.json (at most)"].ok
    fewer = checks["transform: x fewer bytes than cachegen at KL 0.01, musique.json (at least)"]
    assert (fewer.value, fewer.bar, fewer.aim) == (pytest.approx(4 / 1.75), 2.3, 3.0), "against its finest level"
    assert not fewer.ok
    elsewhere = _checks(Path("code.txt"), CURVES)
    assert [check.bar for check in elsewhere] == [1.9, 2.0, 1.0, 2.5]
    assert all(check.ok for check in elsewhere)


def test_a_transform_that_is_never_that_good_fails_its_checks():
    assert not any(check.ok for check in _checks(Path("a.json"), {**CURVES, "transform": [(0.5, 0.1)]}))


def test_equal_predictions_have_no_distance():
    logits = torch.randn(70, 11, generator=torch.Generator().manual_seed(0))
    same = distortion(logits, logits + 3, torch.zeros(70, dtype=torch.int64))
    assert same.kl == pytest.approx(0, abs=1e-7)
    assert same.top1 == 1
    assert same.other_nll == pytest.approx(same.exact_nll, rel=1e-6)


def test_the_distance_is_the_kl_divergence_and_the_change_in_likelihood():
    exact, other = torch.tensor([[0.5, 0.25, 0.25]]).log(), torch.tensor([[0.25, 0.5, 0.25]]).log()
    far = distortion(exact, other, torch.tensor([0]))
    half = torch.tensor(2.0).log().item()
    assert far.kl == pytest.approx(0.25 * half)
    assert far.top1 == 0
    assert far.other_nll - far.exact_nll == pytest.approx(half)
