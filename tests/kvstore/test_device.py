"""DeviceTier keeps the tier contract: on the CPU, through its copies, and on CUDA."""

import numpy as np
import pytest
import torch

from codec import Int8, encode_chunk
from kvstore import DeviceTier, InvalidRequest, Metrics
from kvstore.key import ChunkKey
from kvstore.testing import FRAME_BYTES, QuotaContract, TierContract, frame, frames, key, prompt
from tests.codec.contract import KEY
from tests.device import DEVICE, HAS_CUDA, copying_tier
from tests.kv import SPEC, kv_of_numbers


def require_cuda():
    if not HAS_CUDA:
        pytest.skip("there is no CUDA device")


class TestDeviceTierOnTheCPU(TierContract):
    def make_tier(self, tmp_path, capacity_bytes):
        return DeviceTier(capacity_bytes, "cpu")


class TestDeviceTierByItsCopies(TierContract):
    def make_tier(self, tmp_path, capacity_bytes):
        return copying_tier(capacity_bytes)


@pytest.mark.gpu
class TestDeviceTierOnCUDA(TierContract):
    def make_tier(self, tmp_path, capacity_bytes):
        require_cuda()
        return DeviceTier(capacity_bytes, "cuda")


class TestDeviceTierQuotas(QuotaContract):
    def make_tier(self, tmp_path, capacity_bytes, quotas):
        return DeviceTier(capacity_bytes, "cpu", quotas=quotas)


def test_on_the_cpu_a_view_is_the_tensors_own_memory():
    tier = DeviceTier(10_000, "cpu")
    tier.put(frames([key("a")]))
    first, second = (np.asarray(tier.get(key("a"))) for _ in range(2))
    assert np.shares_memory(first, second)


def test_frames_of_growing_and_shrinking_sizes_share_the_pinned_buffer():
    tier = copying_tier(1 << 20)
    sizes = [10, 100_000, 1, 5000, 200_000]
    for size in sizes:
        tier.put([(key(str(size)), frame(key(str(size)), size))])
    assert all(bytes(tier.get(key(str(size)))) == frame(key(str(size)), size) for size in sizes)


def whole_frame():
    return bytes(encode_chunk(Int8(), kv_of_numbers(SPEC, 4), KEY, 0))


def test_a_whole_frame_is_given_where_it_lies():
    tier, whole = copying_tier(1 << 20), whole_frame()
    tier.put([(ChunkKey(bytes.fromhex(KEY)), whole)])
    held = tier.get_on_device(ChunkKey(bytes.fromhex(KEY)), DEVICE)
    assert held.header.key == KEY
    assert bytes(held.data.cpu().numpy()) == whole
    assert tier.get_on_device(ChunkKey(bytes.fromhex(KEY)), torch.device("meta")) is None
    assert tier.get_on_device(key("unknown"), DEVICE) is None


@pytest.mark.parametrize("damaged", [whole_frame()[:-1] + b"\x00", whole_frame()[:-1], b"no frame", b""])
def test_what_is_not_whole_is_kept_for_the_host_alone(damaged):
    tier = copying_tier(1 << 20)
    assert tier.put([(key("a"), damaged)]) == 1
    assert tier.get_on_device(key("a"), DEVICE) is None
    assert bytes(tier.get(key("a"))) == damaged


def test_without_copies_nothing_is_given_on_the_device():
    tier = DeviceTier(1 << 20, "cpu")
    tier.put([(key("a"), whole_frame())])
    assert tier.get_on_device(key("a"), torch.device("cpu")) is None


def test_what_the_device_has_no_memory_for_is_declined(monkeypatch):
    metrics = Metrics()
    tier, keys = copying_tier(1 << 20, metrics=metrics), prompt("a", 3)
    assert tier.put(frames(keys[:1])) == 1

    def no_memory(given):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(tier._copies, "to_device", no_memory)
    assert tier.put(frames(keys[1:]), keys[:1]) == 0
    assert tier.match(keys) == 1
    assert tier.size_bytes == FRAME_BYTES
    assert metrics.snapshot()["device_out_of_memory"] == 1


@pytest.mark.gpu
def test_a_frame_too_large_for_the_device_is_declined():
    require_cuda()
    _, total = torch.cuda.mem_get_info()
    tier = DeviceTier(2 * total, "cuda")
    hog = torch.empty(int(torch.cuda.mem_get_info()[0] * 0.999), dtype=torch.uint8, device="cuda")
    assert tier.put([(key("a"), bytes(64 << 20))]) == 0
    del hog


@pytest.mark.parametrize("capacity_bytes", [0, -1])
def test_a_budget_must_be_positive(capacity_bytes):
    with pytest.raises(InvalidRequest):
        DeviceTier(capacity_bytes, "cpu")
