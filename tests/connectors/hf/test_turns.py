"""Conversations: a later turn finds the earlier ones, answers included, and stores only what is new."""

import pytest
import torch

from tests.connectors.hf.steps import GREEDY, computed
from tests.connectors.hf.tiny import prompt, tiny_model


@pytest.mark.parametrize("kind", ["llama", "mistral-window", "gemma3-hybrid"])
def test_the_next_turn_finds_the_answer_too(kind, wrap, store):
    model, first = tiny_model(kind), prompt(30)
    cached = wrap(model)
    answered = cached.generate(first, do_sample=False, max_new_tokens=20, min_new_tokens=20)
    cached.flush()
    match = store.match(store.identity(cached.spec), answered[0].tolist())
    assert match.num_tokens == 48  # 49 of the 50 tokens have KV; the last one was never fed back
    second = torch.cat([answered, prompt(9, seed=5)], dim=1)
    assert torch.equal(cached.generate(second, **GREEDY), model.generate(second, **GREEDY))


def test_only_new_chunks_are_saved(wrap, store):
    model, first = tiny_model("llama"), prompt(40)
    cached = wrap(model)
    cached.generate(first, max_new_tokens=1)
    cached.flush()
    assert store.metrics.snapshot()["chunks_saved"] == 5
    cached.generate(torch.cat([first, prompt(17, seed=5)], dim=1), max_new_tokens=1)
    cached.flush()
    assert store.metrics.snapshot()["chunks_saved"] == 7


def test_answer_chunks_hold_the_kv_of_the_answers_tokens(wrap, store):
    model, first = tiny_model("llama"), prompt(8)
    cached = wrap(model)
    answered = cached.generate(first, do_sample=False, max_new_tokens=17, min_new_tokens=17)
    cached.flush()
    kv = store.load(store.match(store.identity(cached.spec), answered[0].tolist()))
    layers = computed(model, answered[:, : kv.num_tokens]).layers
    for layer, loaded in zip(layers, kv.keys, strict=True):
        torch.testing.assert_close(layer.keys[0], loaded)


def test_rows_that_end_early_are_stored_as_the_tokens_that_were_fed(wrap, store):
    model = tiny_model("llama")
    batch = torch.cat([prompt(16, seed=1), prompt(16, seed=2)])
    first_of_row_0 = model.generate(batch[:1], do_sample=False, max_new_tokens=1)[0, -1].item()
    cached = wrap(model)
    output = cached.generate(batch, do_sample=False, max_new_tokens=20, eos_token_id=first_of_row_0)
    cached.flush()
    for row in output:
        kv = store.load(store.match(store.identity(cached.spec), row.tolist()))
        expected = computed(model, row[None, : kv.num_tokens]).layers[-1].keys[0]
        torch.testing.assert_close(kv.keys[-1], expected)
