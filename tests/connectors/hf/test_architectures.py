"""Every supported architecture: what is loaded equals what was computed, and so do the answers."""

import pytest
import torch

from tests.connectors.hf.steps import GREEDY, computed, two_steps
from tests.connectors.hf.tiny import CONFIGS, WINDOW, prompt, tiny_model

KINDS = sorted(CONFIGS)
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_first_request_answers_as_without_the_store(kind, dtype, wrap):
    model, ids = tiny_model(kind, dtype), prompt(3 * WINDOW)
    assert torch.equal(wrap(model).generate(ids, **GREEDY), model.generate(ids, **GREEDY))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_loaded_prefix_answers_as_one_kept_in_the_process(kind, dtype, wrap, store):
    model, context = tiny_model(kind, dtype), prompt(5 * 8)
    whole = torch.cat([context, prompt(11, seed=2)], dim=1)
    cached = wrap(model)
    cached.generate(context, max_new_tokens=1)
    cached.flush()
    assert torch.equal(cached.generate(whole, **GREEDY), two_steps(model, context, whole))
    assert store.metrics.snapshot()["tokens_loaded"] == 40


@pytest.mark.parametrize("kind", KINDS)
def test_loaded_kv_is_bit_for_bit_what_was_computed(kind, wrap, store):
    model, context = tiny_model(kind), prompt(WINDOW - 8)  # inside the window a stock cache still has every token
    cached = wrap(model)
    cached.generate(context, max_new_tokens=1)
    cached.flush()
    kv = store.load(store.match(store.identity(cached.spec), context[0].tolist()))
    for layer, loaded_keys, loaded_values in zip(computed(model, context).layers, kv.keys, kv.values, strict=True):
        assert torch.equal(layer.keys[0], loaded_keys)
        assert torch.equal(layer.values[0], loaded_values)


@pytest.mark.parametrize("kind", ["mistral-window", "gemma3-hybrid"])
def test_chunks_behind_the_window_are_saved_before_they_are_forgotten(kind, wrap, store):
    model, context = tiny_model(kind), prompt(4 * WINDOW)
    cached = wrap(model)
    cached.generate(context, max_new_tokens=1)
    cached.flush()
    first_chunk = store.load(store.match(store.identity(cached.spec), context[0, :8].tolist()))
    layers = computed(model, context[:, :8]).layers
    for layer, loaded in zip(layers, first_chunk.keys, strict=True):
        torch.testing.assert_close(layer.keys[0], loaded)


def test_the_same_prompt_again_computes_its_last_token_only(wrap, store):
    model, ids = tiny_model("llama"), prompt(32)
    cached = wrap(model)
    cached.generate(ids, max_new_tokens=1)
    cached.flush()
    seen = []
    handle = model.model.embed_tokens.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    again = cached.generate(ids, **GREEDY)
    handle.remove()
    assert seen[0] == 1
    assert torch.equal(again, two_steps(model, ids[:, :-1], ids))
