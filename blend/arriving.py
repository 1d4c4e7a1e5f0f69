"""Arriving: segments that are decoded into a prompt's KV while the model computes with the layers that are there.

As CacheBlend (arXiv 2405.16444, section 5) loads the next layer's KV while this layer is recomputed: what is read
and decoded in time costs the first token nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import TracebackType
from typing import Self

import torch

from kvstore import DECODERS

Layers = Iterator[int]
"""Decodes one segment, a step each time it is asked; yields how many of its layers are there."""


class Arriving:
    """Decodes in threads of its own, all segments' first layers first. Entered, it decodes; left, it has ended."""

    def __init__(
        self, segments: Sequence[Layers], num_layers: int, device: torch.device | str = "cpu", decoders: int = DECODERS
    ) -> None:
        """`segments` write to `device`: on CUDA from a stream of their own."""
        self._num_layers, self._device = num_layers, torch.device(device)
        self._parts = [segments[first::decoders] for first in range(min(decoders, len(segments)))]
        self._there = [0] * len(self._parts)
        self._failure: Exception | None = None
        self._ended = False
        self._changed = threading.Condition()
        self._threads: ThreadPoolExecutor | None = None

    def wait(self, layer: int) -> None:
        """Until all segments have that layer. Raises what was raised where one could not be decoded."""
        with self._changed:
            self._changed.wait_for(lambda: self._failure is not None or all(there > layer for there in self._there))
            if self._failure is not None:
                raise self._failure

    def __enter__(self) -> Self:
        self._threads = ThreadPoolExecutor(max(len(self._parts), 1), "kvstore-arrive")
        for number in range(len(self._parts)):
            self._threads.submit(self._decode, number, _stream_beside(self._device))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended = True
        if self._threads is not None:
            self._threads.shutdown()

    def _decode(self, number: int, stream: torch.cuda.Stream | None) -> None:
        segments = self._parts[number]
        have = [0] * len(segments)
        try:
            with nullcontext() if stream is None else torch.cuda.stream(stream):
                for layer in range(self._num_layers):
                    for index, layers in enumerate(segments):
                        while have[index] <= layer:
                            if self._ended:
                                return
                            have[index] = next(layers)
                    if stream is not None:
                        stream.synchronize()
                    self._is_there(number, min(have))
                for layers in segments:
                    next(layers, None)  # lets it end: it has measured itself by then
        except Exception as error:  # for whoever waits
            with self._changed:
                self._failure = error
                self._changed.notify_all()
        finally:
            if stream is not None:  # whoever leaves may free what is written
                stream.synchronize()

    def _is_there(self, number: int, num_layers: int) -> None:
        with self._changed:
            self._there[number] = num_layers
            self._changed.notify_all()


def _stream_beside(device: torch.device) -> torch.cuda.Stream | None:
    """On CUDA a stream that begins behind what the caller's has under way: its memory may still be in use there."""
    if device.type != "cuda":
        return None
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    return stream
