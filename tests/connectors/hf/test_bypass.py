"""What the store cannot serve exactly goes past it: the same answer, counted, nothing saved."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    JambaConfig,
    LlamaConfig,
    StaticCache,
    T5Config,
    T5ForConditionalGeneration,
)

from tests.connectors.hf.steps import GREEDY
from tests.connectors.hf.tiny import SIZES, prompt, tiny_model

HOLES = torch.tensor([[1] * 10 + [0] * 5 + [1] * 25])
RIGHT = torch.tensor([[1] * 35 + [0] * 5])


@pytest.mark.parametrize(
    "options",
    [
        {"use_cache": False},
        {"cache_implementation": "static"},
        {"prompt_lookup_num_tokens": 2},
        {"prefill_chunk_size": 16},
        {"return_dict_in_generate": True, "output_hidden_states": True},
        {"attention_mask": HOLES},
        {"attention_mask": RIGHT},
        {"position_ids": torch.arange(40)[None] + 3},
    ],
    ids=lambda options: next(iter(options)),
)
def test_requests_with_a_prefill_of_their_own_go_past_the_store(options, wrap, store):
    model, ids = tiny_model("llama"), prompt(40)
    cached = wrap(model)
    expected = model.generate(ids, **GREEDY, **options)
    output = cached.generate(ids, **GREEDY, **options)
    if "return_dict_in_generate" in options:
        expected, output = expected.sequences, output.sequences
    assert torch.equal(output, expected)
    assert store.metrics.snapshot()["requests_bypassed"] == 1
    assert store.tier.size_bytes == 0


def test_embeddings_and_caches_given_by_the_caller_go_past_the_store(wrap, store):
    model, ids = tiny_model("llama"), prompt(40)
    cached = wrap(model)
    embeds = model.get_input_embeddings()(ids)
    assert torch.equal(cached.generate(inputs_embeds=embeds, **GREEDY), model.generate(inputs_embeds=embeds, **GREEDY))
    cache = StaticCache(config=model.config, max_cache_len=64)
    cached.generate(ids, past_key_values=cache, **GREEDY)
    assert store.metrics.snapshot()["requests_bypassed"] == 2
    assert store.tier.size_bytes == 0


def test_an_assistant_model_goes_past_the_store(wrap, store):
    model, ids = tiny_model("llama"), prompt(40)
    output = wrap(model).generate(ids, assistant_model=tiny_model("llama", seed=3), **GREEDY)
    assert output.shape == (1, 52)
    assert store.metrics.snapshot()["requests_bypassed"] == 1


def test_autocast_goes_past_the_store(wrap, store):
    model, ids = tiny_model("llama"), prompt(40)
    cached = wrap(model)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(cached.generate(ids, **GREEDY), model.generate(ids, **GREEDY))
    assert store.metrics.snapshot()["requests_bypassed"] == 1


def test_arguments_that_are_none_are_no_arguments(wrap, store):
    model, ids = tiny_model("llama"), prompt(40)
    wrap(model).generate(ids, past_key_values=None, stopping_criteria=None, inputs_embeds=None, max_new_tokens=2)
    assert store.metrics.snapshot()["requests_bypassed"] == 0


def jamba():
    sizes = {**SIZES, "num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1}
    return AutoModelForCausalLM.from_config(JambaConfig(**sizes, num_experts=2, num_experts_per_tok=1))


def t5():
    return T5ForConditionalGeneration(
        T5Config(vocab_size=97, d_model=16, d_kv=4, d_ff=16, num_layers=2, num_heads=2, decoder_start_token_id=0)
    )


@pytest.mark.parametrize("make", [jamba, t5])
def test_unsupported_models_run_as_before_and_say_why(make, wrap, store, caplog):
    torch.manual_seed(0)
    model, ids = make().eval(), prompt(20)
    cached = wrap(model)
    assert cached.unsupported
    assert cached.unsupported in caplog.text
    options = {"do_sample": False, "max_new_tokens": 5}
    assert torch.equal(cached.generate(ids, **options), model.generate(ids, **options))
    assert store.tier.size_bytes == 0


def test_keys_that_depend_on_the_length_are_kept_only_while_they_do_not(wrap, store):
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    model = AutoModelForCausalLM.from_config(
        LlamaConfig(**{**SIZES, "max_position_embeddings": 64}, rope_parameters=rope)
    )
    cached = wrap(model.eval())
    cached.generate(prompt(40), max_new_tokens=4)
    assert store.metrics.snapshot()["requests_bypassed"] == 0
    cached.generate(prompt(70), max_new_tokens=4)
    assert store.metrics.snapshot()["requests_bypassed"] == 1


def test_everything_but_generate_is_the_models_own(wrap):
    model = tiny_model("llama")
    assert wrap(model).config is model.config
    with pytest.raises(AttributeError):
        _ = wrap(model).no_such_thing
