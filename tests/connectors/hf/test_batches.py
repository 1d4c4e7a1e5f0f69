"""Batches: left padding, rows with different prefixes, several sequences per prompt."""

import pytest
import torch

from tests.connectors.hf.steps import GREEDY
from tests.connectors.hf.tiny import prompt, tiny_model

KINDS = ["llama", "mistral-window", "gemma3-hybrid"]


def left_padded(prompts):
    """Prompts `[1, n]` of different lengths as one batch: input_ids and attention_mask."""
    columns = max(ids.shape[1] for ids in prompts)
    input_ids = torch.zeros((len(prompts), columns), dtype=torch.long)
    mask = torch.zeros_like(input_ids)
    for row, ids in enumerate(prompts):
        input_ids[row, columns - ids.shape[1] :] = ids
        mask[row, columns - ids.shape[1] :] = 1
    return {"input_ids": input_ids, "attention_mask": mask}


def answers(model, prompts):
    """Each prompt answered alone, without the store."""
    return [model.generate(ids, **GREEDY)[0, ids.shape[1] :].tolist() for ids in prompts]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("known", [(0, 0, 0), (40, 40, 40), (40, 16, 0), (0, 48, 0)])
def test_rows_with_different_prefixes_answer_as_each_alone(kind, known, wrap, store):
    model = tiny_model(kind)
    prompts = [prompt(51, seed=1), prompt(60, seed=2), prompt(45, seed=3)]
    cached = wrap(model)
    for ids, num_tokens in zip(prompts, known, strict=True):
        if num_tokens:
            cached.generate(ids[:, :num_tokens], max_new_tokens=1)
    cached.flush()
    batch = left_padded(prompts)
    output = cached.generate(**batch, **GREEDY)
    assert [row[batch["input_ids"].shape[1] :].tolist() for row in output] == answers(model, prompts)
    assert store.metrics.snapshot()["tokens_loaded"] == sum(known)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_saved_row_by_row(kind, wrap, store):
    model = tiny_model(kind)
    prompts = [prompt(30, seed=1), prompt(41, seed=2)]
    cached = wrap(model)
    cached.generate(**left_padded(prompts), max_new_tokens=1)
    cached.flush()
    for ids in prompts:
        match = store.match(store.identity(cached.spec), ids[0].tolist())
        assert match.num_tokens == ids.shape[1] // 8 * 8
        alone = model.generate(ids, **GREEDY)
        assert torch.equal(cached.generate(ids, **GREEDY), alone)


def test_every_row_the_same_prompt(wrap):
    model, ids = tiny_model("llama"), prompt(40)
    cached = wrap(model)
    cached.generate(ids, max_new_tokens=1)
    cached.flush()
    output = cached.generate(ids.repeat(3, 1), **GREEDY)
    assert output.tolist() == model.generate(ids.repeat(3, 1), **GREEDY).tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("held", [False, True])
def test_beam_search_gives_the_same_beams(kind, held, wrap):
    model, ids = tiny_model(kind), prompt(45)
    options = {**GREEDY, "num_beams": 3, "num_return_sequences": 2}
    cached = wrap(model)
    if held:
        cached.generate(ids[:, :40], max_new_tokens=1)
        cached.flush()
    assert torch.equal(cached.generate(ids, **options), model.generate(ids, **options))


@pytest.mark.parametrize("kind", KINDS)
def test_sampled_sequences_are_the_same_under_the_same_seed(kind, wrap):
    model, ids = tiny_model(kind), prompt(45)
    options = {"do_sample": True, "max_new_tokens": 12, "num_return_sequences": 3}
    cached = wrap(model)
    cached.generate(ids[:, :40], max_new_tokens=1)
    cached.flush()
    torch.manual_seed(7)
    expected = model.generate(ids, **options)
    torch.manual_seed(7)
    assert torch.equal(cached.generate(ids, **options), expected)
