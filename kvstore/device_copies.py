"""DeviceCopies: frames to device memory and back, through one pinned buffer and on a stream of their own."""

from __future__ import annotations

import threading

import numpy as np
import torch

from kvstore.tier import Frame


class DeviceCopies:
    """One copy at a time; safe in threads. What an engine computes meanwhile does not wait for it, nor it for that.

    The buffer grows to the largest frame copied. On a CPU, where tests run it, streams and events do nothing.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._module = device, torch.get_device_module(device)
        self._stream, self._buffer_free = self._module.Stream(device), self._module.Event()
        self._buffer = torch.empty(0, dtype=torch.uint8)
        self._lock = threading.Lock()

    def to_device(self, frame: Frame) -> torch.Tensor:
        """The frame in device memory, uint8 `[byte]`; it may still be on its way: see `wait`.

        Raises torch.OutOfMemoryError.
        """
        with self._lock, self._module.stream(self._stream):
            there = torch.empty(len(frame), dtype=torch.uint8, device=self._device)
            buffer = self._room(len(frame))
            buffer.numpy()[:] = np.frombuffer(frame, np.uint8)
            there.copy_(buffer, non_blocking=True)
            self._buffer_free.record(self._stream)
            return there

    def to_host(self, there: torch.Tensor) -> memoryview:
        """A copy, read-only, of what `to_device` gave."""
        with self._lock, self._module.stream(self._stream):
            buffer = self._room(len(there))
            buffer.copy_(there, non_blocking=True)
            self._buffer_free.record(self._stream)
            self._buffer_free.synchronize()
            return memoryview(buffer.numpy().tobytes())

    def wait(self, there: torch.Tensor) -> None:
        """For the calling thread's stream of the device, before it reads what `to_device` gave.

        What that stream does next comes after the copy, and the memory is not used anew before it.
        """
        stream = self._module.current_stream(self._device)
        stream.wait_stream(self._stream)
        if there.is_cuda:
            there.record_stream(stream)

    def _room(self, num_bytes: int) -> torch.Tensor:
        """The buffer's first bytes, as soon as the last copy out of them is done."""
        self._buffer_free.synchronize()
        if len(self._buffer) < num_bytes:
            self._buffer = torch.empty(num_bytes, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        return self._buffer[:num_bytes]
