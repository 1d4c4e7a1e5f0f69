"""vLLM and transformers call the same weights the same model; requests that must not share KV have other identities."""

import os
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
pytest.importorskip("vllm", reason="vLLM is not installed")

from connectors.hf import spec_of as spec_in_transformers
from connectors.hf.models import demo_model_dir
from connectors.vllm.errors import UnsupportedEngine
from connectors.vllm.identity import owner_of, spec_of
from kvstore import InvalidRequest, LoRA, Multimodal
from tests.connectors.hf.tiny import tiny_model
from tests.connectors.vllm.configs import vllm_config
from tests.real import real_model

NO_CACHE = SimpleNamespace(mm_processor_cache_gb=0)


def saved(path, kind="llama", **changes):
    tiny_model(kind, **changes).save_pretrained(path)
    return path


def loaded(path, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(path, dtype=dtype)


@pytest.mark.parametrize("kind", ["llama", "llama3-rope", "multi-query", "qwen2", "qwen3", "mistral"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_both_engines_name_the_same_model(kind, dtype, tmp_path):
    changes = {"sliding_window": None} if kind == "mistral" else {}
    saved(tmp_path, "mistral-window" if kind == "mistral" else kind, **changes)
    config = vllm_config(tmp_path, str(dtype).removeprefix("torch."))
    assert spec_of(config, 0).to_json() == spec_in_transformers(loaded(tmp_path, dtype)).to_json()


def test_tied_weights_are_in_the_digest_under_each_name(tmp_path):
    saved(tmp_path, tie_word_embeddings=True)
    assert spec_of(vllm_config(tmp_path), 0) == spec_in_transformers(loaded(tmp_path))


def test_a_checkpoint_in_several_files_is_the_same_model(tmp_path):
    tiny_model("llama").save_pretrained(tmp_path, max_shard_size="8KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert spec_of(vllm_config(tmp_path), 0) == spec_in_transformers(loaded(tmp_path))


@pytest.mark.real_model
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_both_engines_name_the_demo_model(dtype):
    model, _ = real_model(dtype)
    config = vllm_config(demo_model_dir(), str(dtype).removeprefix("torch."))
    assert spec_of(config, 0).fingerprint() == spec_in_transformers(model).fingerprint()


def test_another_weight_or_setting_is_another_model(tmp_path):
    specs = {
        spec_of(vllm_config(saved(tmp_path / str(number) / "m", **changes)), 0).fingerprint()
        for number, changes in enumerate(({}, {"seed": 1}, {"rms_norm_eps": 1e-3}))
    }
    assert len(specs) == 3


@pytest.mark.parametrize("other", ["pytorch_model.bin", "consolidated.safetensors"])
def test_files_that_transformers_does_not_write_are_told_apart_by_their_bytes(other, tmp_path):
    saved(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / other)
    spec = spec_of(vllm_config(tmp_path), 0)
    assert spec == spec_of(vllm_config(tmp_path), 0)
    (tmp_path / other).write_bytes((tmp_path / other).read_bytes() + b" ")
    assert spec.revision not in {
        spec_of(vllm_config(tmp_path), 0).revision,
        spec_in_transformers(tiny_model("llama")).revision,
    }


def test_quantized_weights_are_another_model(tmp_path):
    saved(tmp_path)
    specs = {spec_of(vllm_config(tmp_path, quantization=kind), 0).revision for kind in (None, "fp8", "awq")}
    assert len(specs) == 3


def test_a_given_revision_is_trusted_and_no_file_is_read(tmp_path):
    saved(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert spec_of(vllm_config(tmp_path), 0, revision="abc").revision == "abc"
    with pytest.raises(UnsupportedEngine, match="revision"):
        spec_of(vllm_config(tmp_path), 0)


def test_a_shard_has_its_part_of_the_heads(tmp_path):
    config = vllm_config(saved(tmp_path), tensor_parallel_size=2)
    first, second = (spec_of(config, rank) for rank in range(2))
    assert first.group_of[0].kv_heads == 1
    assert (second.tp_rank, second.tp_size) == (1, 2)
    assert first.fingerprint() != second.fingerprint()


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("mistral-window", {}, "window of 24"),
        ("llama", {"pipeline_parallel_size": 2}, "pipeline"),
        ("llama", {"decode_context_parallel_size": 2}, "context parallelism"),
        ("llama", {"cache_dtype": "fp8"}, "fp8"),
        ("llama", {"load_format": "dummy"}, "not in local files"),
        ("llama", {"multimodal_config": NO_CACHE, "enable_prefix_caching": False}, "not hashed"),
    ],
)
def test_what_cannot_be_kept_is_declined_with_a_reason(kind, changes, reason, tmp_path):
    with pytest.raises(UnsupportedEngine, match=reason):
        spec_of(vllm_config(saved(tmp_path, kind), **changes), 0)


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("rope_parameters", {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}, "dynamic"),
        ("layer_types", ["full_attention", "chunked_attention", "full_attention"], "chunked_attention"),
        ("num_kv_shared_layers", 1, "shares KV"),
        ("use_bidirectional_attention", True, "both directions"),
    ],
)
def test_a_model_that_cannot_be_kept_is_declined_with_a_reason(setting, value, reason, tmp_path):
    config = vllm_config(saved(tmp_path))
    setattr(config.model_config.hf_config, setting, value)
    with pytest.raises(UnsupportedEngine, match=reason):
        spec_of(config, 0)


def a_request(**changes):
    fields = {"prompt_embeds": None, "mm_features": [], "lora_request": None, "cache_salt": None}
    return SimpleNamespace(**(fields | changes))


def a_picture(identifier, offset=3, length=5):
    return SimpleNamespace(identifier=identifier, mm_position=SimpleNamespace(offset=offset, length=length))


def test_a_plain_request_belongs_to_its_tenant_alone():
    identity = owner_of(a_request(), "a")
    assert (identity.tenant, identity.lora, identity.multimodal) == ("a", None, ())


def test_an_adapter_is_its_name_and_path():
    adapter = SimpleNamespace(lora_name="n", lora_path="/p")
    assert owner_of(a_request(lora_request=adapter), "").lora == LoRA("n", "/p")


def test_salts_and_tenants_are_never_confused():
    pairs = [("", ""), ("a", ""), ("ab", ""), ("a", "b"), ("", "ab"), ("ab", "b"), ("a", "bb"), ("", "a")]
    tenants = {owner_of(a_request(cache_salt=salt), tenant).tenant for tenant, salt in pairs}
    assert len(tenants) == len(pairs)
    assert not any("secret" in owner_of(a_request(cache_salt="secret"), "a").tenant for _ in pairs)
    with pytest.raises(InvalidRequest, match="salt"):
        owner_of(a_request(), owner_of(a_request(cache_salt="b"), "a").tenant)


def test_inputs_count_by_their_content_and_place():
    name = "0f" * 32
    identity = owner_of(a_request(mm_features=[a_picture(name), a_picture(f"adapter:{name}", 9, 2)]), "")
    assert identity.multimodal == (Multimodal(name, 3, 8), Multimodal(f"adapter:{name}", 9, 11))


def test_embeddings_and_inputs_named_by_somebody_are_not_kept():
    assert owner_of(a_request(prompt_embeds=object()), "") is None
    for name in ("renderer0-mm-1-image-0", "my-cat", "", "0f" * 31):
        assert owner_of(a_request(mm_features=[a_picture(name)]), "") is None
