"""What the rate-distortion benchmark measures with: its KL, and how it is told which codecs to try."""

import pytest
import torch

from benchmarks.rate_distortion import codec_named
from codec import CorruptFrame, UnknownCodec
from connectors.hf.scoring import distortion


def test_a_codec_is_named_with_its_parameters():
    assert codec_named("cachegen:level=low").params() == {"level": "low"}
    assert codec_named("lossless").params() == {}


@pytest.mark.parametrize(("name", "error"), [("cachegen:level=3", CorruptFrame), ("none", UnknownCodec)])
def test_a_codec_or_parameter_there_is_not_is_an_error(name, error):
    with pytest.raises(error):
        codec_named(name)


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
