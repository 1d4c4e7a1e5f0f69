"""The main job on the real model: save, come back in another process, load, same tokens."""

import json
from itertools import islice

import pytest
import torch
from typer.testing import CliRunner

from codec import Lossless, codec_from, register
from connectors.cli.main import app
from connectors.hf import CachedModel, ttft
from connectors.hf.calibrate import calibrate
from connectors.hf.corpora import musique, windows
from connectors.hf.models import demo_model_dir, fast_dtype
from connectors.hf.prompts import shared_context, shipped_document
from kvstore import DiskTier, KVStore, MemoryTier
from tests.real import data_file, real_model

pytestmark = pytest.mark.real_model
CONTEXT_TOKENS, NEW_TOKENS = 256, 64


@pytest.fixture(scope="module")
def model():
    return real_model(fast_dtype())[0]


@pytest.fixture(scope="module")
def tokenizer():
    return real_model(fast_dtype())[1]


@pytest.fixture(scope="module")
def document():
    return shipped_document()


def stored_context(model, context, path, codec="lossless", params=None):
    """A store in `path` that holds the context, with the memory tier empty again."""
    store = KVStore([MemoryTier(1 << 30), DiskTier(path, 1 << 34)], codec_from(codec, params))
    ttft.save_context(model, store, context.context)
    return store


def test_the_demo_model_answers(model, tokenizer):
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(text, return_tensors="pt").input_ids
    answer = tokenizer.decode(model.generate(ids, max_new_tokens=16, do_sample=False)[0, ids.shape[1] :])
    assert "Paris" in answer


@pytest.mark.parametrize("number", range(20))
def test_lossless_reuse_is_exact_on_real_questions(number, model, tokenizer, tmp_path):
    passages = musique(data_file("rag/musique_100.json"))[number]
    context = shared_context(tokenizer, passages.text, [passages.question], CONTEXT_TOKENS)
    (prompt,) = context.prompts()
    computed = ttft.computed_context(model, context.context)
    store = stored_context(model, context, tmp_path)
    with CachedModel(model, store) as cached:
        kv = store.load(store.match(store.identity(cached.spec), prompt[0].tolist()))
        for layer, keys, values in zip(computed.layers, kv.keys, kv.values, strict=True):
            assert torch.equal(layer.keys[0], keys)
            assert torch.equal(layer.values[0], values)
        answered = ttft.answer(cached, prompt, NEW_TOKENS)
    store.close()
    assert answered == ttft.reference_answer(model, computed, prompt, NEW_TOKENS)


def test_bfloat16_reuse_is_exact_too(tokenizer, document, tmp_path):
    model, _ = real_model(torch.bfloat16)
    context = shared_context(tokenizer, document, ["What is declared?"], 128)
    (prompt,) = context.prompts()
    computed = ttft.computed_context(model, context.context)
    store = stored_context(model, context, tmp_path)
    with CachedModel(model, store) as cached:
        assert ttft.answer(cached, prompt, 16) == ttft.reference_answer(model, computed, prompt, 16)
    store.close()


@pytest.mark.parametrize("codec", ["lossless", "int8"])
def test_a_new_process_loads_what_this_one_saved(codec, model, tokenizer, document, tmp_path):
    context = shared_context(tokenizer, document, ["Who refused his assent to laws?"], CONTEXT_TOKENS)
    (prompt,) = context.prompts()
    expected = ttft.reference_answer(model, ttft.computed_context(model, context.context), prompt, 16)
    stored_context(model, context, tmp_path, codec).close()
    case = ttft.NewProcessCase(str(tmp_path), codec, prompt[0].tolist(), 16)
    (fresh,) = ttft.in_new_process(demo_model_dir(), fast_dtype(), [case])
    assert fresh.tokens_loaded == CONTEXT_TOKENS
    if codec == "lossless":
        assert fresh.token_ids == expected


def test_a_new_process_finds_the_profile_in_the_store(model, tokenizer, document, tmp_path):
    few = list(islice(windows(tokenizer, [document[-20_000:]], 128), 3))
    profile = register(calibrate(model, few[:2], few[2:], lambda _: None)[0])
    params = {"profile": profile.fingerprint, "quality": "high"}
    context = shared_context(tokenizer, document, ["Who refused his assent to laws?"], CONTEXT_TOKENS)
    (prompt,) = context.prompts()
    stored_context(model, context, tmp_path, "transform", params).close()
    case = ttft.NewProcessCase(str(tmp_path), "transform", prompt[0].tolist(), 4, params)
    (fresh,) = ttft.in_new_process(demo_model_dir(), fast_dtype(), [case])
    assert fresh.tokens_loaded == CONTEXT_TOKENS


def test_int8_stays_close_to_full_precision(model, tokenizer, document, tmp_path):
    context = shared_context(tokenizer, document, ["Who refused his assent to laws?"], CONTEXT_TOKENS)
    (prompt,) = context.prompts()
    computed = ttft.computed_context(model, context.context)
    store = stored_context(model, context, tmp_path, "int8")
    with CachedModel(model, store) as cached:
        options = {"max_new_tokens": 1, "output_logits": True, "return_dict_in_generate": True}
        lossy = cached.generate(prompt, **options).logits[0][0].log_softmax(-1)
        exact = model.generate(prompt, past_key_values=computed, **options).logits[0][0].log_softmax(-1)
    store.close()
    assert float((exact.exp() * (exact - lossy)).sum()) < 1e-2  # measured: 1e-4


def test_a_damaged_disk_costs_time_and_nothing_else(model, tokenizer, document, tmp_path):
    context = shared_context(tokenizer, document, ["Who refused his assent to laws?"], CONTEXT_TOKENS)
    (prompt,) = context.prompts()
    stored_context(model, context, tmp_path).close()
    with KVStore([DiskTier(tmp_path, 1 << 34)], Lossless()) as store, CachedModel(model, store) as cached:
        match = store.match(store.identity(cached.spec), prompt[0].tolist())
        frame = bytearray(store.tier.get(match.keys[1]))
        frame[-5] ^= 64
        store.tier.put([(match.keys[1], frame)], prefix=match.keys[:1])
        computed = ttft.computed_context(model, context.context[:, :128])
        assert ttft.answer(cached, prompt, 16) == ttft.reference_answer(model, computed, prompt, 16)
        assert store.metrics.snapshot()["chunks_corrupt"] == 1


def test_demo_prints_what_it_promises():
    arguments = ["demo", "--contexts", "256", "--codecs", "lossless", "--question", "Who are the people?", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    (run,) = report["runs"]
    assert run["context_tokens"] == 256
    assert run["same_tokens"]
    assert run["tokens_compared"] == 4 * 32  # one question from RAM, and from three new processes
    assert run["bytes_per_token"] > 0
    assert min(run["ttft_none_s"], run["ttft_memory_s"], run["ttft_disk_new_process_s"]) > 0
    assert report["model"]
