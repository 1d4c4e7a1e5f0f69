"""The Codec contract: how a chunk's keys and values become named sections of a frame, and come back."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch

from codec.errors import CorruptFrame
from codec.kv_array import KVArray
from codec.spec import KVSpec

ReadSection = Callable[..., np.ndarray]
"""`read(name, dtype, shape=None)`: one checked section of the frame being decoded, as `Frame.section`."""
ReadTensor = Callable[..., torch.Tensor]
"""The same of a frame in device memory, as `DeviceFrame.section`."""
Sections = Iterator[tuple[str, np.ndarray]]


class Codec(ABC):
    """Turns KV into sections and back. Stateless after construction; safe in threads.

    A codec round-trips to JSON: `from_params(codec.params())` decodes what `codec` encoded.
    """

    id: ClassVar[str]
    """Name in frames and settings."""
    lossless: ClassVar[bool]
    """True promises that decoding returns the bits that were encoded."""
    movable: ClassVar[bool] = False
    """True: keys are stored without their rotary embedding and come back for any position, at no further loss."""

    def params(self) -> dict[str, Any]:
        """JSON-able parameters a decoder needs; part of every frame. None, unless a codec says otherwise."""
        return {}

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Self:
        """The codec those parameters describe. Raises CorruptFrame when they make no sense."""
        if params:
            raise CorruptFrame(f"{cls.id} takes no parameters, got {dict(params)}")
        return cls()

    def for_spec(self, spec: KVSpec) -> Codec:
        """The codec to encode this spec's KV with, of the same `params`: itself unless the model matters."""
        return self

    @property
    def qualities(self) -> tuple[str, ...]:
        """Names, finest first, of the qualities at which its frames can be read; none where there is but one."""
        return ()

    def coarser(self, quality: str) -> Codec:
        """The codec that decodes this one's frames at a lower quality, from fewer of their sections.

        Raises ValueError when its frames hold no such quality: most codecs' hold one.
        """
        raise ValueError(f"frames of {self.id} {self.params()} cannot be read at quality {quality!r}")

    def needs(self, section: str) -> bool:
        """Whether `decode` reads the section of that name."""
        return True

    @abstractmethod
    def encode(self, kv: KVArray, start: int) -> Sections:
        """Sections `<layer>.<name>` of `kv`, whose first token stands at position `start`."""

    @abstractmethod
    def decode(self, read: ReadSection, out: KVArray, start: int, to: int) -> Iterator[int]:
        """Writes `out`, strided as it comes, and yields how many layers are there, whenever there are more.

        `start` is as it was for `encode`, `to` the position for which keys are wanted: `start` again, unless
        the codec is `movable`. A layer's sections are read just before it is decoded, so a reader may use
        the first layers while bytes of the last are still arriving.

        Raises CorruptFrame when a section is missing, damaged, or holds what the encoder never writes.
        """

    def decode_on_device(self, read: ReadTensor, out: KVArray, start: int, to: int) -> bool:
        """As `decode`, all of it where the sections and `out` lie, within rounding; False, and `out` as it was, when
        this codec cannot or what it takes is not installed."""
        return False

    def identity(self) -> str:
        """What a reader must ask for to be given these numbers: part of every ChunkKey."""
        return identity_of(self.id, self.params())


def identity_of(codec_id: str, params: Mapping[str, Any]) -> str:
    """`Codec.identity()` of the codec with these parameters, which need not be installed."""
    return f"{codec_id}{json.dumps(params, sort_keys=True, separators=(',', ':'))}"


class LayerCodec(Codec):
    """A codec that codes every layer by itself."""

    @abstractmethod
    def encode_layer(self, layer: int, keys: torch.Tensor, values: torch.Tensor, start: int) -> dict[str, np.ndarray]:
        """Sections of one layer. `keys` `[kv_head, token, key_dim]`, `values` `[kv_head, token, value_dim]`.

        `start` is the position of the first token. At least one section: it is how a layer is known to be there.
        """

    @abstractmethod
    def decode_layer(
        self, layer: int, read: ReadSection, keys: torch.Tensor, values: torch.Tensor, start: int, to: int
    ) -> None:
        """Writes one layer into `keys` and `values`, shaped as for `encode_layer`; otherwise as `decode`.

        `read` takes the names that `encode_layer` gave.
        """

    def encode(self, kv: KVArray, start: int) -> Sections:
        for layer, (keys, values) in enumerate(zip(kv.keys, kv.values, strict=True)):
            for name, section in self.encode_layer(layer, keys, values, start).items():
                yield f"{layer}.{name}", section

    def decode(self, read: ReadSection, out: KVArray, start: int, to: int) -> Iterator[int]:
        for layer, (keys, values) in enumerate(zip(out.keys, out.values, strict=True)):
            self.decode_layer(layer, _of_layer(layer, read), keys, values, start, to)
            yield layer + 1


def _of_layer(layer: int, read: ReadSection) -> ReadSection:
    return lambda name, dtype, shape=None: read(f"{layer}.{name}", dtype, shape)
