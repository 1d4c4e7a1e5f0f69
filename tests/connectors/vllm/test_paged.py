"""PagedKV gives back the very bits that were put in, in every layout; and those that vLLM's own kernel puts in."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codec import KVArray, SpecMismatch
from connectors.vllm import paged
from connectors.vllm.errors import UnsupportedEngine
from connectors.vllm.page_views import PageLayout
from connectors.vllm.paged import PagedKV
from tests.connectors.vllm.paging import caches_for, equal, random_kv, spec_with

DTYPES = [torch.bfloat16, torch.float16, torch.float32]
CPU_ORDER, GPU_ORDERS = ["LBHNC"], ["LBHNC", "LBNHC", "LHBNC", "BLHNC", "BLNHC", "BHLNC"]
PLACES = [
    *((layout, order) for layout in (PageLayout.VECTOR, PageLayout.AMX) for order in CPU_ORDER),
    *((layout, order) for layout in (PageLayout.PACKED, PageLayout.SPLIT) for order in GPU_ORDERS),
]


@st.composite
def paged_kv(draw):
    layout, order = draw(st.sampled_from(PLACES))
    spec = spec_with(
        draw(st.integers(1, 12)), draw(st.integers(1, 3)), draw(st.sampled_from([16, 32, 80])), draw(DTYPE)
    )
    kernel_tokens, ratio, num_blocks = draw(st.sampled_from([16, 32])), draw(st.integers(1, 2)), draw(st.integers(1, 6))
    caches = caches_for(spec, layout, num_blocks * ratio, kernel_tokens, order)
    block_ids = draw(st.permutations(range(num_blocks)))[: draw(st.integers(1, num_blocks))]
    return PagedKV(caches, spec, layout, kernel_tokens * ratio), caches, spec, block_ids


DTYPE = st.sampled_from(DTYPES)


@given(paged_kv())
def test_what_is_written_is_read_and_other_blocks_stay(case):
    paged, caches, spec, block_ids = case
    kv = random_kv(spec, len(block_ids) * paged.block_tokens)
    others = [block for block in range(paged.num_blocks) if block not in block_ids]
    before = random_kv(spec, len(others) * paged.block_tokens, seed=1)
    paged.write(before, others)
    paged.write(kv, block_ids)
    read, after = KVArray.empty(spec, kv.num_tokens), KVArray.empty(spec, before.num_tokens)
    paged.read(block_ids, read)
    paged.read(others, after)
    assert equal(read, kv)
    assert equal(after, before)
    assert sum(int(cache.count_nonzero()) for cache in caches.values()) == sum(
        int(tensor.count_nonzero()) for both in (kv, before) for tensor in (*both.keys, *both.values)
    )


@pytest.mark.parametrize("layout", PageLayout)
def test_every_element_is_where_the_layout_says(layout):
    tokens, dim = 32, 32
    spec = spec_with(1, 1, dim, torch.float32)
    caches = caches_for(spec, layout, 1, tokens)
    kv = random_kv(spec, tokens)
    PagedKV(caches, spec, layout, tokens).write(kv, [0])
    page = next(iter(caches.values())).contiguous().flatten()
    place = {
        PageLayout.VECTOR: (lambda n, d: d * tokens + n, lambda n, d: tokens * dim + n * dim + d),
        PageLayout.AMX: (
            lambda n, d: n // 16 * 16 * dim + d // 2 * 32 + n % 16 * 2 + d % 2,
            lambda n, d: tokens * dim + d // 16 * 16 * tokens + n // 2 * 32 + d % 16 * 2 + n % 2,
        ),
        PageLayout.PACKED: (lambda n, d: n * 2 * dim + d, lambda n, d: n * 2 * dim + dim + d),
        PageLayout.SPLIT: (lambda n, d: n * dim + d, lambda n, d: tokens * dim + n * dim + d),
    }[layout]
    for where, tensor in zip(place, (kv.keys[0], kv.values[0]), strict=True):
        indices = torch.tensor([[where(n, d) for d in range(dim)] for n in range(tokens)])
        assert torch.equal(page[indices], tensor[0])


@pytest.mark.parametrize("isa", ["vec", "vec16", "amx"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("head_dim", [48, 64, 80, 128])
def test_vllm_writes_what_is_read_and_the_other_way_round(isa, dtype, head_dim):
    write = vllm_kernel()
    if isa == "amx" and (dtype is not torch.bfloat16 or head_dim % 32):
        pytest.skip("vLLM takes AMX for bfloat16 alone, and for heads of a multiple of 32")
    block_tokens, block_ids, layout = 32, [4, 1], PageLayout.AMX if isa == "amx" else PageLayout.VECTOR
    spec = spec_with(2, 2, head_dim, dtype)
    theirs, ours = (caches_for(spec, layout, 6, block_tokens) for _ in range(2))
    kv = random_kv(spec, len(block_ids) * block_tokens)
    slots = torch.cat([torch.arange(block_tokens) + block * block_tokens for block in block_ids])
    for layer, cache in enumerate(theirs.values()):
        k, v = cache.view(6, 2, 2 * block_tokens, head_dim).chunk(2, dim=2)
        tokens = [tensor[layer].transpose(0, 1).contiguous() for tensor in (kv.keys, kv.values)]
        try:
            write(*tokens, k, v, slots, isa, 1.0, 1.0, "auto")
        except RuntimeError as error:
            pytest.skip(f"vLLM's kernel does not do {isa}, {dtype}, {head_dim} here: {error}")
    read = KVArray.empty(spec, kv.num_tokens)
    PagedKV(theirs, spec, layout, block_tokens).read(block_ids, read)
    assert equal(read, kv)
    PagedKV(ours, spec, layout, block_tokens).write(kv, block_ids)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def vllm_kernel():
    """The op that writes tokens into CPU caches; skips where vLLM is not installed, or not for CPUs."""
    platforms = pytest.importorskip("vllm.platforms", reason="vLLM is not installed")
    if not platforms.current_platform.is_cpu():
        pytest.skip("this vLLM is not the one for CPUs")
    platforms.current_platform.import_kernels()
    return torch.ops._C.cpu_attn_reshape_and_cache


def test_caches_made_in_inference_mode_are_written_outside_of_it():
    spec = spec_with(2, 1, 16, torch.float32)
    with torch.inference_mode():
        paged = PagedKV(caches_for(spec, PageLayout.VECTOR, 2, 16), spec, PageLayout.VECTOR, 16)
    kv, read = random_kv(spec, 16), KVArray.empty(spec, 16)
    paged.write(kv, [1])
    paged.read([1], read)
    assert equal(read, kv)


def test_kv_of_another_device_goes_through_room_beside_the_caches(monkeypatch):
    monkeypatch.setattr(PagedKV, "_near", lambda self, kv: paged._room(kv, self.device))
    spec = spec_with(3, 2, 16, torch.float32)
    near = PagedKV(caches_for(spec, PageLayout.PACKED, 4, 16), spec, PageLayout.PACKED, 16)
    kv, read = random_kv(spec, 32), KVArray.empty(spec, 32)
    near.write(kv, [3, 0])
    near.read([3, 0], read)
    assert equal(read, kv)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("order", GPU_ORDERS)
@pytest.mark.parametrize("layout", [PageLayout.PACKED, PageLayout.SPLIT])
def test_caches_on_a_gpu_exchange_kv_with_the_host(layout, order):
    spec = spec_with(3, 2, 64, torch.bfloat16)
    caches = {name: cache.cuda() for name, cache in caches_for(spec, layout, 8, 16, order).items()}
    paged, kv = PagedKV(caches, spec, layout, 16), random_kv(spec, 48)
    read = KVArray.empty(spec, 48)
    paged.write(kv, [5, 0, 7])
    paged.read([5, 0, 7], read)
    assert equal(read, kv)


def test_wrong_blocks_and_tokens_are_refused():
    spec = spec_with(2, 1, 16, torch.float32)
    paged = PagedKV(caches_for(spec, PageLayout.VECTOR, 4, 16), spec, PageLayout.VECTOR, 16)
    for block_ids, num_tokens in (([4], 16), ([-1], 16), ([0], 32), ([0, 0], 32)):
        with pytest.raises(ValueError, match="blocks"):
            paged.write(random_kv(spec, num_tokens), block_ids)
    with pytest.raises(SpecMismatch):
        paged.read([0], KVArray.empty(spec_with(2, 1, 16, torch.bfloat16), 16))


def test_caches_that_are_not_one_per_layer_are_refused():
    spec = spec_with(2, 1, 16, torch.float32)
    caches = caches_for(spec, PageLayout.VECTOR, 4, 16)
    first, second = caches.items()
    for wrong in (
        dict([first]),
        dict([first, (second[0], first[1])]),
        caches | {"draft.layers.1.attn": second[1]},
        caches | {"model.layers.2.attn": second[1]},
        {"model.layers.0.attn.1": first[1], second[0]: second[1]},
        {name: cache.half() for name, cache in caches.items()},
        {name: cache[:, :, :, :16] for name, cache in caches.items()},
        {name: cache.transpose(1, 2) for name, cache in caches.items()},
    ):
        with pytest.raises(UnsupportedEngine):
            PagedKV(wrong, spec, PageLayout.VECTOR, 16)
    with pytest.raises(UnsupportedEngine, match="24 tokens"):
        PagedKV(caches, spec, PageLayout.VECTOR, 24)
