"""Fused prompts: what is recomputed is exact, what is reused is as it was stored, on every architecture."""

import math

import pytest
import torch
from transformers import DynamicCache

from blend import SELECTORS, Fusion, Shares
from codec import KVArray
from connectors.hf import UnsupportedModel, spec_of
from connectors.hf.fusing import fuse, require_fusing
from connectors.hf.scoring import kv_of, logits_behind
from tests.connectors.hf.tiny import CONFIGS, WINDOW, prompt, tiny_model

KINDS = sorted(CONFIGS)
NUM_TOKENS = 2 * WINDOW + 5
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


def computed(model, ids):
    """KV and logits behind the last token, from one forward pass that forgets nothing."""
    cache = DynamicCache()
    with torch.no_grad():
        logits = model(input_ids=ids, past_key_values=cache, use_cache=True).logits[0, -1]
    return kv_of(spec_of(model), cache), logits


def copied(kv):
    parts = (tuple(part.clone() for part in parts) for parts in (kv.keys, kv.values))
    return KVArray(kv.spec, *parts)


def nonsense(kv, start=0):
    """The same KV up to `start`, and none behind that."""
    spoiled = copied(kv)
    for part in (*spoiled.keys, *spoiled.values):
        part[:, start:] = 7.0
    return spoiled


def reused(start, *segments):
    into = torch.full((NUM_TOKENS - start,), -1)
    for first, end in segments:
        into[first - start : end - start] = torch.arange(end - first)
    return into


def assert_same(kv, other, tokens=slice(None)):
    for one, two in zip((*kv.keys, *kv.values), (*other.keys, *other.values), strict=True):
        torch.testing.assert_close(one[:, tokens], two[:, tokens], **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", [0, 7, WINDOW + 1])
def test_recomputing_everything_is_computing_the_prompt(kind, start):
    model, ids = tiny_model(kind), prompt(NUM_TOKENS)
    exact, logits = computed(model, ids)
    kv = nonsense(exact, start)
    fusion = Fusion(kv, start, reused(start, (start, NUM_TOKENS - 3)), SELECTORS["hkvd"](), Shares(1.0, 1.0))
    torch.testing.assert_close(fuse(model, ids[0].tolist(), fusion), logits, **CLOSE)
    assert_same(kv, exact)


@pytest.mark.parametrize("kind", KINDS)
def test_without_segments_behind_an_exact_prefix_everything_is_computed(kind):
    model, ids = tiny_model(kind), prompt(NUM_TOKENS)
    exact, logits = computed(model, ids)
    kv = nonsense(exact, 10)
    fusion = Fusion(kv, 10, reused(10), SELECTORS["random"](), Shares(0.0, 0.0))
    torch.testing.assert_close(fuse(model, ids[0].tolist(), fusion), logits, **CLOSE)
    assert_same(kv, exact)


@pytest.mark.parametrize("kind", ["llama", "gemma3-hybrid", "phi3-partial-rotary"])
@pytest.mark.parametrize("selector", sorted(SELECTORS))
@pytest.mark.parametrize("shares", [Shares(0.0, 0.0), Shares(0.4, 0.4), Shares(0.6, 0.1), Shares(0.3, 0.3, 2)])
def test_reusing_what_is_exact_is_exact_whatever_is_recomputed(kind, selector, shares):
    model, ids = tiny_model(kind), prompt(NUM_TOKENS)
    exact, logits = computed(model, ids)
    kv = copied(exact)
    fusion = Fusion(kv, 4, reused(4, (6, 20), (25, 48)), SELECTORS[selector](), shares)
    torch.testing.assert_close(fuse(model, ids[0].tolist(), fusion), logits, **CLOSE)
    assert_same(kv, exact)


def test_with_no_share_new_text_attends_to_what_was_stored():
    model, ids, other = tiny_model("llama"), prompt(NUM_TOKENS), prompt(NUM_TOKENS, seed=9)
    (exact, _), (strange, _) = computed(model, ids), computed(model, other)
    end = NUM_TOKENS - 6
    kv = copied(strange)
    kv.keys[0].copy_(exact.keys[0])  # the first layer is computed in any case
    kv.values[0].copy_(exact.values[0])
    expected = DynamicCache(config=model.config)
    for layer, (keys, values) in enumerate(zip(kv.keys, kv.values, strict=True)):
        expected.update(keys[None, :, :end], values[None, :, :end], layer)
    logits = logits_behind(model, ids[:, end:], expected)[-1]
    fusion = Fusion(kv, 0, reused(0, (0, end)), SELECTORS["hkvd"](), Shares(0.0, 0.0))
    torch.testing.assert_close(fuse(model, ids[0].tolist(), fusion), logits, **CLOSE)
    assert fusion.positions.tolist() == list(range(end, NUM_TOKENS))


def test_the_tokens_that_differ_most_are_the_ones_recomputed():
    model, ids = tiny_model("llama"), prompt(NUM_TOKENS)
    exact, _ = computed(model, ids)
    kv, spoiled = copied(exact), [9, 10, 30]
    for part in (*kv.keys, *kv.values):
        part[:, spoiled] += 3.0
    fusion = Fusion(kv, 0, reused(0, (0, 50)), SELECTORS["hkvd-v"](), Shares(3 / 50, 3 / 50))
    fuse(model, ids[0].tolist(), fusion)
    assert fusion.positions.tolist() == [*spoiled, *range(50, NUM_TOKENS)]
    assert_same(kv, exact)


def test_fewer_tokens_go_on_from_layer_to_layer():
    model, ids = tiny_model("gemma3-hybrid"), prompt(NUM_TOKENS)
    kv, counts = nonsense(computed(model, ids)[0]), []
    shares = Shares(0.8, 0.2)
    fusion = Fusion(kv, 0, reused(0, (0, 40)), SELECTORS["hkvd"](), shares)
    put = fusion.put

    def counting(layer, keys, values):
        counts.append(keys.shape[1])
        return put(layer, keys, values)

    fusion.put = counting
    fuse(model, ids[0].tolist(), fusion)
    assert counts == [NUM_TOKENS - 40 + math.ceil(40 * shares.at(layer, 7)) for layer in range(7)]
    assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize("kind", KINDS)
def test_supported_models_pass_the_trial(kind):
    model = tiny_model(kind)
    require_fusing(model, spec_of(model))


def test_models_whose_layers_cannot_be_hooked_are_declined():
    model = tiny_model("llama")
    model.model.layers[1].register_forward_pre_hook(lambda _, args, kwargs: ((args[0] * 2,), kwargs), with_kwargs=True)
    spec = spec_of(model)
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(UnsupportedModel, match="flash_attention_2"):
        require_fusing(model, spec)
