"""The Codec contract: how one layer's keys and values become named sections of a frame, and come back."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch

from codec.errors import CorruptFrame
from codec.spec import KVSpec

ReadSection = Callable[..., np.ndarray]
"""`read(name, dtype, shape=None)`: one checked section of the layer being decoded, as `Frame.section`."""


class Codec(ABC):
    """Turns KV into sections and back, one layer at a time. Stateless after construction; safe in threads.

    A codec round-trips to JSON: `from_params(codec.params())` decodes what `codec` encoded.
    """

    id: ClassVar[str]
    """Name in frames and settings."""
    lossless: ClassVar[bool]
    """True promises that decoding returns the bits that were encoded."""
    movable: ClassVar[bool] = False
    """True: keys are stored without their rotary embedding and come back for any position."""

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

    @abstractmethod
    def encode_layer(self, layer: int, keys: torch.Tensor, values: torch.Tensor, start: int) -> dict[str, np.ndarray]:
        """Sections of one layer. `keys` `[kv_head, token, key_dim]`, `values` `[kv_head, token, value_dim]`.

        `start` is the position of the first token. At least one section: it is how a layer is known to be there.
        """

    @abstractmethod
    def decode_layer(
        self, layer: int, read: ReadSection, keys: torch.Tensor, values: torch.Tensor, start: int, to: int
    ) -> None:
        """Writes one layer into `keys` and `values`, shaped as for `encode_layer`, strided as they come.

        `start` is as it was for `encode_layer`, `to` the position for which keys are wanted: `start` again,
        unless the codec is `movable`.

        Raises CorruptFrame when a section is missing, damaged, or holds what the encoder never writes.
        """

    def identity(self) -> str:
        """What a reader must ask for to be given these numbers: part of every ChunkKey."""
        return f"{self.id}{json.dumps(self.params(), sort_keys=True, separators=(',', ':'))}"
