"""The connector in real vLLM: what one engine saves the next one loads, and answers are those of vLLM's own cache.

A prefix hit and a cold run differ in the shapes of their matrix products, so answers are compared with those of
the same engine where as many tokens were cached.
"""

import shutil

import pytest
import torch

from benchmarks.disk_directory import wait_for_saves
from connectors.hf import CachedModel
from connectors.hf.models import fast_dtype
from connectors.settings import DiskSettings, MemorySettings, Settings, StoreSettings
from tests.connectors.vllm.real_engine import (
    CAPACITY,
    connector,
    engine,
    one_by_one,
    prompts_of,
    require_vllm,
    whole_blocks,
)
from tests.real import real_model

pytestmark = pytest.mark.real_model
LENGTHS = (129, 300, 400, 640)
ROUNDING_KL = 0.01  # between answers of one model whose keys were rounded by other kernels


@pytest.fixture(scope="module", autouse=True)
def vllm():
    require_vllm()


@pytest.fixture(scope="module")
def prompts():
    return prompts_of(LENGTHS)


@pytest.fixture(scope="module")
def saved(prompts, tmp_path_factory):
    """A store that one engine has filled, its answers when it computed, and those from its own prefix cache."""
    directory = tmp_path_factory.mktemp("store")
    with engine(connector(directory)) as first:
        computed, nothing = one_by_one(first, prompts)
        own, cached = one_by_one(first, prompts)
    assert nothing == [0] * len(prompts)
    assert cached == whole_blocks(prompts)
    wait_for_saves(directory)
    return directory, computed, own


def flip_bytes(directory):
    """Damages every record in the segments."""
    for path in directory.glob("segments/*"):
        with path.open("r+b") as file:
            for place in range(8192, path.stat().st_size, 1 << 16):
                file.seek(place)
                byte = file.read(1)[0]
                file.seek(place)
                file.write(bytes([byte ^ 1]))


def test_another_engine_loads_what_was_saved_and_survives_its_loss(saved, prompts, tmp_path):
    directory, computed, own = saved
    directory = shutil.copytree(directory, tmp_path / "store")
    with engine(connector(directory)) as second:
        assert one_by_one(second, prompts) == (own, whole_blocks(prompts))
        second.forget()
        together = second.generate(prompts, 16)
        assert [answer.cached for answer in together] == whole_blocks(prompts)
        assert [answer.token_ids[0] for answer in together] == [answer[0] for answer in own]
        flip_bytes(directory)
        second.forget()
        assert one_by_one(second, prompts) == (computed, [0] * len(prompts))
        shutil.rmtree(directory)
        second.forget()
        assert one_by_one(second, prompts[:2]) == (computed[:2], [0, 0])


def test_few_blocks_and_many_requests(saved, prompts, tmp_path):
    """Preemptions, answers that fill chunks, several answers to one prompt: what is saved meanwhile is right."""
    _, _, own = saved
    with engine(connector(tmp_path), num_gpu_blocks_override=14, max_num_seqs=8) as crowded:
        crowded.generate([*prompts, *prompts], 200)
        crowded.generate(prompts[:2], 40, n=3, temperature=1.0, seed=1)
        crowded.forget()
        assert one_by_one(crowded, prompts) == (own, whole_blocks(prompts))


def test_a_producer_saves_and_a_consumer_loads(saved, prompts, tmp_path):
    _, _, own = saved
    with (
        engine(connector(tmp_path, "kv_producer"), num_gpu_blocks_override=64) as producer,
        engine(connector(tmp_path, "kv_consumer"), num_gpu_blocks_override=64) as consumer,
    ):
        one_by_one(producer, prompts[:2], 1)
        for prompt, answer in zip(prompts[:2], own, strict=False):
            for _ in range(50):
                consumer.forget()
                (found,) = consumer.generate([prompt], 16)
                if found.cached == whole_blocks([prompt])[0]:
                    break
            assert found.token_ids == answer


def test_transformers_and_vllm_load_what_the_other_saved(saved, prompts, tmp_path):
    directory, computed, own = saved
    model, _ = real_model(fast_dtype())
    prompt = torch.tensor([prompts[2]])
    greedy = {"max_new_tokens": 1, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    alone = model.generate(prompt, **greedy).logits[0].double().log_softmax(-1)
    with CachedModel.open(model, settings_in(directory)) as loading:
        loaded = loading.generate(prompt, **greedy).logits[0].double().log_softmax(-1)
        assert (alone.exp() * (alone - loaded)).sum() < ROUNDING_KL  # in bfloat16 the likeliest two may change places
        assert loading.store.metrics.snapshot()["tokens_loaded"] == whole_blocks(prompts)[2]
    with CachedModel.open(model, settings_in(tmp_path)) as saving:
        saving.generate(prompt, **greedy)
    with engine(connector(tmp_path)) as other:
        answers, cached = one_by_one(other, [prompts[2]])
    assert cached == whole_blocks(prompts)[2:3]
    assert answers[0] in (computed[2], own[2])


def settings_in(directory):
    return Settings(
        StoreSettings(directory, codec="lossless", load="always"), MemorySettings(0), DiskSettings(CAPACITY)
    )
