"""Rotary embedding: as transformers does it, off again, and over to another position."""

import importlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codec import LayerGroup
from codec.rotary import Rotary, UnsupportedRotary
from codec.rotary_kernels import put_on

transformers = pytest.importorskip("transformers")

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
YARN = {"factor": 4.0, "original_max_position_embeddings": 128}
VARIANTS = {
    "default": {"rope_type": "default", "rope_theta": 10000.0},
    "other base": {"rope_type": "default", "rope_theta": 500000.0},
    "linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    "llama3": {"rope_type": "llama3", "rope_theta": 10000.0, **LLAMA3},
    "yarn": {"rope_type": "yarn", "rope_theta": 10000.0, **YARN},
    "yarn without truncation": {"rope_type": "yarn", "rope_theta": 10000.0, **YARN, "beta_fast": 16, "truncate": False},
    "yarn with mscale": {"rope_type": "yarn", "rope_theta": 1e6, **YARN, "mscale": 1.0, "mscale_all_dim": 0.8},
    "partial": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
}
ARCHITECTURES = {
    "llama": ("LlamaConfig", "LlamaRotaryEmbedding"),
    "qwen3": ("Qwen3Config", "Qwen3RotaryEmbedding"),
    "mistral": ("MistralConfig", "MistralRotaryEmbedding"),
    "phi3": ("Phi3Config", "Phi3RotaryEmbedding"),
}
CASES = [(name, variant) for name in ("llama", "qwen3", "mistral") for variant in VARIANTS if variant != "partial"]
CASES += [("phi3", "partial"), ("phi3", "default")]
HEADS, TOKENS, DIM = 2, 9, 32


def group(rotary, dim=DIM):
    return LayerGroup((0,), HEADS, dim, dim, rotary=rotary)


def random_keys(dim=DIM):
    return torch.randn(HEADS, TOKENS, dim, generator=torch.Generator().manual_seed(3))


def by_transformers(architecture, rotary, keys, start):
    """Keys with the embedding that the model code of an architecture puts on."""
    config_class, name = ARCHITECTURES[architecture]
    modeling = importlib.import_module(f"transformers.models.{architecture}.modeling_{architecture}")
    config = getattr(transformers, config_class)(
        hidden_size=4 * DIM,
        num_attention_heads=4,
        num_key_value_heads=HEADS,
        head_dim=DIM,
        max_position_embeddings=512,
        rope_parameters=dict(rotary),
        pad_token_id=0,
    )
    cos, sin = getattr(modeling, name)(config)(keys[None], torch.arange(start, start + TOKENS)[None])
    return modeling.apply_rotary_pos_emb(keys[None], keys[None], cos, sin)[1][0]


@pytest.mark.parametrize("start", [0, 7, 4093, 100_003])
@pytest.mark.parametrize(("architecture", "variant"), CASES)
def test_keys_are_embedded_as_the_model_does(architecture, variant, start):
    rotary, keys = VARIANTS[variant], random_keys()
    expected = by_transformers(architecture, rotary, keys, start)
    torch.testing.assert_close(Rotary.of(group(rotary)).put_on(keys, start), expected, rtol=0, atol=2e-6)


@given(variant=st.sampled_from(sorted(VARIANTS)), start=st.integers(0, 1 << 20), to=st.integers(0, 1 << 20))
def test_what_was_put_on_comes_off_and_moves_anywhere(variant, start, to):
    rotary, keys = Rotary.of(group(VARIANTS[variant])), random_keys()
    embedded = rotary.put_on(keys, start)
    torch.testing.assert_close(rotary.take_off(embedded, start), keys, rtol=0, atol=4e-6)
    torch.testing.assert_close(rotary.move(embedded, start, to), rotary.put_on(keys, to), rtol=0, atol=8e-6)


def test_keys_without_an_embedding_stay_as_they_are():
    rotary, keys = Rotary.of(group({})), random_keys()
    assert torch.equal(rotary.put_on(keys, 5), keys)
    assert torch.equal(rotary.take_off(keys, 5), keys)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_the_kernel_puts_on_what_torch_does(variant):
    """From rows of channels, behind some that are another part's."""
    rotary, keys = Rotary.of(group(VARIANTS[variant])), random_keys()
    rows = torch.cat([torch.zeros(TOKENS, 5), keys.transpose(0, 1).flatten(1)], dim=1).numpy()
    turned = np.empty(keys.shape, np.float32)
    put_on(rows, 5, *rotary.cos_sin(40, TOKENS), turned)
    np.testing.assert_allclose(turned, rotary.put_on(keys, 40).numpy(), rtol=0, atol=1e-6)


def test_any_memory_layout_and_dtype_gives_float32():
    rotary, keys = Rotary.of(group(VARIANTS["default"])), random_keys().bfloat16()
    strided = keys.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert rotary.take_off(strided, 3).dtype == torch.float32
    assert torch.equal(rotary.take_off(strided, 3), rotary.take_off(keys, 3))


@pytest.mark.parametrize(
    "rotary",
    [
        {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
        {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0], "long_factor": [1.0]},
        {"rope_type": "default"},
        {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [8, 4, 4]},
        {"rope_type": "default", "rope_theta": 1e4, "rope_interleave": True},
        {"rope_type": "yarn", "rope_theta": 1e4, "factor": None, "original_max_position_embeddings": 64},
        {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.1},
        {"x": 1},
        {"rope_type": ["default"], "rope_theta": 1e4},
        {"rope_theta": "1e4"},
        {"rope_theta": 0.0},
        {"rope_theta": -2.0},
        {"rope_theta": 10**400},
        {"rope_theta": float("nan")},
        {"rope_theta": 1e4, "partial_rotary_factor": float("inf")},
        {"rope_theta": 1e4, "partial_rotary_factor": [1]},
        {"rope_type": "linear", "rope_theta": 1e4, "factor": 0},
        {"rope_type": "yarn", "rope_theta": 1.0, "factor": 2.0, "original_max_position_embeddings": 64},
        {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": -1},
        {
            "rope_type": "yarn",
            "rope_theta": 1e4,
            "factor": 2.0,
            "original_max_position_embeddings": 64,
            "attention_factor": 0.0,
        },
    ],
)
def test_what_is_not_known_is_declined(rotary):
    with pytest.raises(UnsupportedRotary):
        Rotary.of(group(rotary))


def test_an_odd_number_of_channels_is_declined():
    with pytest.raises(UnsupportedRotary, match="pairs"):
        Rotary.of(group(VARIANTS["default"], dim=7))
