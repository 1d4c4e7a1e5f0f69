"""Calibration: a profile of a tiny model, what it costs on held-out text, and which models it declines."""

import pytest
import torch
from transformers import AutoModelForCausalLM, GlmConfig

from codec import UnsupportedRotary
from connectors.hf.calibrate import LEVEL_KL, calibrate, num_steps
from connectors.hf.gradients import gradients_of
from connectors.hf.moving import require_movable
from connectors.hf.spec import spec_of
from tests.connectors.hf.tiny import CONFIGS, SIZES, prompt, tiny_model


def test_a_profile_is_fitted_and_its_curve_falls():
    model, reported = tiny_model("llama"), []
    texts = [prompt(64, seed) for seed in range(4)]
    profile, curve = calibrate(model, texts[:3], texts[3:], reported.append)
    assert profile.spec == spec_of(model)
    assert profile.levels.keys() == LEVEL_KL.keys()
    assert profile.levels["high"] <= profile.levels["balanced"] <= profile.levels["small"]
    assert [point.step for point in curve] == sorted(point.step for point in curve)
    assert curve[0].bits > curve[-1].bits
    assert len(reported) == num_steps(3, 1)


@pytest.mark.parametrize("kind", CONFIGS)
def test_keys_of_every_architecture_can_be_moved(kind):
    model = tiny_model(kind)
    require_movable(model, spec_of(model))


def test_a_layout_that_the_parameters_do_not_tell_of_is_declined():
    torch.manual_seed(0)
    sizes = {**SIZES, "num_attention_heads": 4}
    model = AutoModelForCausalLM.from_config(GlmConfig(**sizes)).eval()
    with pytest.raises(UnsupportedRotary, match="turns its keys"):
        require_movable(model, spec_of(model))


def test_only_what_is_behind_the_context_asks_for_it():
    model = tiny_model("llama").requires_grad_(False)
    torch.manual_seed(1)
    layers = list(gradients_of(model, prompt(24), 16))
    assert len(layers) == 3
    for seen in layers:
        assert seen.keys.shape == seen.key_gradients.shape == (2, 16, 8)
        assert seen.value_gradients.abs().sum() > 0
