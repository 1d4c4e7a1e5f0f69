"""The layout is the one that vLLM's layers use, or the engine is declined by name."""

import os
from types import SimpleNamespace

import pytest
import torch

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
pytest.importorskip("vllm", reason="vLLM is not installed")
from vllm.v1 import kv_cache_interface as interface

from connectors.vllm.errors import UnsupportedEngine
from connectors.vllm.layout import block_tokens_of, layout_of
from connectors.vllm.page_views import PageLayout
from tests.connectors.vllm.paging import caches_for, spec_with

SPEC = spec_with(2, 2, 32, torch.float32)


def engine(backend="CPU_ATTN", isa="vec", layout="LBHNC", dtype=torch.float32):
    layer = SimpleNamespace(isa=isa, get_attn_backend=lambda: SimpleNamespace(get_name=lambda: backend))
    names = caches_for(SPEC, PageLayout.VECTOR, 1, 32)
    cache = SimpleNamespace(cache_dtype="auto", get_resolved_kv_cache_layout=lambda: interface.KVCacheLayout[layout])
    return SimpleNamespace(
        model_config=SimpleNamespace(dtype=dtype),
        cache_config=cache,
        compilation_config=SimpleNamespace(static_forward_context=dict.fromkeys(names, layer)),
    )


def caches():
    return caches_for(SPEC, PageLayout.VECTOR, 1, 32)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"isa": "vec"}, PageLayout.VECTOR),
        ({"isa": "vec16"}, PageLayout.VECTOR),
        ({"isa": "amx"}, PageLayout.AMX),
        ({"backend": "FLASH_ATTN", "layout": "BLNHC"}, PageLayout.PACKED),
        ({"backend": "TRITON_ATTN"}, PageLayout.PACKED),
    ],
)
def test_known_layouts_are_told_by_backend_and_instruction_set(settings, expected):
    assert layout_of(engine(**settings), caches()) is expected


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"isa": "neon"}, "neon"),
        ({"layout": "LBNHC"}, "LBNHC"),
        ({"backend": "TRITON_MLA"}, "TRITON_MLA"),
        ({"dtype": torch.bfloat16}, "float32"),
    ],
)
def test_unknown_layouts_are_declined_by_name(settings, named):
    with pytest.raises(UnsupportedEngine, match=named):
        layout_of(engine(**settings), caches())


def test_caches_of_no_layer_are_declined():
    with pytest.raises(UnsupportedEngine, match=r"draft\.0"):
        layout_of(engine(), caches() | {"draft.0": next(iter(caches().values()))})


def groups(kind="FullAttentionSpec", count=1, names=("0", "1"), **changes):
    fields = {"block_size": 128, "num_kv_heads": 2, "head_size": 32, "dtype": torch.float32}
    spec = getattr(interface, kind)(**(fields | changes))
    group = interface.KVCacheGroupSpec(list(names), spec)
    return interface.KVCacheConfig(num_blocks=1, kv_cache_tensors=[], kv_cache_groups=[group] * count)


def test_the_block_size_is_that_of_the_only_group():
    assert block_tokens_of(groups(), SPEC) == 128


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"count": 2}, "2 groups"),
        ({"kind": "SlidingWindowSpec", "sliding_window": 64}, "SlidingWindowSpec"),
        ({"kind": "MLAAttentionSpec"}, "MLAAttentionSpec"),
        ({"sliding_window": 64}, "causal attention to all"),
        ({"dtype": torch.uint8}, "uint8"),
        ({"kv_quant_mode": interface.KVQuantMode.FP8_PER_TENSOR}, "FP8_PER_TENSOR"),
        ({"names": ("0",)}, "1 layers"),
    ],
)
def test_other_groups_are_declined_with_a_reason(config, reason):
    with pytest.raises(UnsupportedEngine, match=reason):
        block_tokens_of(groups(**config), SPEC)
