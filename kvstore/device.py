"""DeviceTier: compressed frames as tensors in device memory, where the KV decoded of them is wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from codec import CorruptFrame, DeviceFrame, FrameHeader
from codec import Frame as CodecFrame
from kvstore.device_copies import DeviceCopies
from kvstore.eviction import EvictionPolicy
from kvstore.in_process import InProcessTier
from kvstore.key import ChunkKey
from kvstore.metrics import Metrics
from kvstore.tier import Frame


@dataclass(frozen=True, eq=False)
class _OnDevice:
    """A frame's bytes, uint8 `[byte]`, and its header if all of it was whole when it was put."""

    data: torch.Tensor
    header: FrameHeader | None = None


class DeviceTier(InProcessTier[_OnDevice]):
    """Frames by key in a device's memory, under a budget of their own.

    On a CPU `get` gives the tensor's own memory. On CUDA frames come and go through pinned memory, on a side stream;
    they are verified before they go, so that `get_on_device` gives them to be decoded where they lie; what fails
    that is kept all the same, for the host to find. What the device has no memory for is declined.
    """

    name = "device"

    def __init__(
        self,
        capacity_bytes: int,
        device: torch.device | str,
        policy: EvictionPolicy | None = None,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.time,
        quotas: Mapping[str, int] | None = None,
    ) -> None:
        """As `InProcessTier`."""
        super().__init__(capacity_bytes, policy, metrics, clock, quotas)
        device = torch.device(device)
        self._copies = None if device.type == "cpu" else DeviceCopies(device)

    def get_on_device(self, key: ChunkKey, device: torch.device) -> DeviceFrame | None:
        kept = self._find(key)
        if kept is None or kept.header is None or kept.data.device != device or self._copies is None:
            return None
        self._copies.wait(kept.data)
        return DeviceFrame(kept.header, kept.data)

    def _keeping(self, frame: Frame) -> Callable[[], _OnDevice | None]:
        if self._copies is None:
            data = torch.from_numpy(np.frombuffer(frame, np.uint8).copy())
            return lambda: _OnDevice(data)
        return partial(self._copied, self._copies, frame, _verified(frame))

    def _copied(self, copies: DeviceCopies, frame: Frame, header: FrameHeader | None) -> _OnDevice | None:
        try:
            return _OnDevice(copies.to_device(frame), header)
        except torch.OutOfMemoryError:
            self._metrics.count("device_out_of_memory")
            return None

    def _given(self, kept: _OnDevice) -> memoryview:
        if self._copies is None:
            return kept.data.numpy().data.toreadonly()
        return self._copies.to_host(kept.data)


def _verified(data: Frame) -> FrameHeader | None:
    """The header of a frame that is whole; None of anything else."""
    try:
        frame = CodecFrame(data)
        frame.verify()
    except CorruptFrame:
        return None
    return frame.header
