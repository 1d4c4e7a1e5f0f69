"""KV of another model, precision, rope, tenant or adapter is never found."""

import pytest
import torch

from connectors.hf import spec_of
from kvstore import InvalidRequest, LoRA
from tests.connectors.hf.tiny import prompt, tiny_model


def held(cached, ids):
    return cached.store.match(cached._identity, ids[0].tolist()).num_tokens


def fill(cached, ids):
    cached.generate(ids, max_new_tokens=1)
    cached.flush()
    assert held(cached, ids) == 32


@pytest.mark.parametrize(
    "other",
    [
        lambda: tiny_model("llama", seed=1),
        lambda: tiny_model("llama", torch.bfloat16),
        lambda: tiny_model("llama", rope_parameters={"rope_type": "default", "rope_theta": 5000.0}),
        lambda: tiny_model("llama", rms_norm_eps=1e-3),
        lambda: tiny_model("llama3-rope"),
        lambda: tiny_model("qwen2"),
    ],
    ids=["weights", "dtype", "rope theta", "norm epsilon", "rope scaling", "architecture"],
)
def test_another_model_finds_nothing(other, wrap):
    ids = prompt(32)
    fill(wrap(tiny_model("llama")), ids)
    assert held(wrap(other()), ids) == 0


def test_a_changed_weight_is_another_model(wrap):
    model, ids = tiny_model("llama"), prompt(32)
    fill(wrap(model), ids)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] += 1e-3
    assert held(wrap(model), ids) == 0


def test_the_same_model_built_again_finds_everything(wrap):
    ids = prompt(32)
    fill(wrap(tiny_model("llama")), ids)
    assert held(wrap(tiny_model("llama")), ids) == 32


def test_another_tenant_or_adapter_finds_nothing(wrap):
    model, ids = tiny_model("llama"), prompt(32)
    fill(wrap(model, tenant="a", lora=LoRA("l", "/p")), ids)
    for others in ({}, {"tenant": "b", "lora": LoRA("l", "/p")}, {"tenant": "a", "lora": LoRA("l", "/q")}):
        assert held(wrap(model, **others), ids) == 0


def test_loaded_adapters_must_be_named(wrap):
    model = tiny_model("llama")
    model._hf_peft_config_loaded = True
    with pytest.raises(InvalidRequest, match="lora="):
        wrap(model)


def test_spec_describes_windows_heads_and_rope():
    spec = spec_of(tiny_model("gemma3-hybrid"))
    by_window = {group.window: group for group in spec.groups}
    assert by_window[None].layers == (5,)
    assert by_window[24].layers == (0, 1, 2, 3, 4, 6)
    assert by_window[None].rotary["rope_theta"] != by_window[24].rotary["rope_theta"]
    assert spec_of(tiny_model("phi3-partial-rotary")).groups[0].rotary["partial_rotary_factor"] == 0.5


def test_a_given_revision_is_trusted_and_saves_the_digest():
    assert spec_of(tiny_model("llama"), revision="abc").revision == "abc"
