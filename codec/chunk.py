"""A chunk's KV array to a frame's bytes and back: the codec does the layers, this does the whole."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

from codec.codec import Codec
from codec.errors import CorruptFrame, SpecMismatch
from codec.frame import Frame, pack
from codec.kv_array import KVArray
from codec.registry import codec_from


def encode_chunk(codec: Codec, kv: KVArray, key: str, start: int) -> bytearray:
    """The frame of `kv`, whose first token stands at position `start`, under the name `key`."""
    codec, sections = codec.for_spec(kv.spec), dict[str, np.ndarray]()
    for layer, (keys, values) in enumerate(zip(kv.keys, kv.values, strict=True)):
        for name, array in codec.encode_layer(layer, keys, values).items():
            sections[f"{layer}.{name}"] = array
    return pack(kv.spec, key, start, start + kv.num_tokens, codec.id, codec.params(), sections)


def decode_chunk(frame: Frame, out: KVArray) -> None:
    """Decodes the whole frame into `out`, layer by layer from the first.

    Raises SpecMismatch when the frame holds another model's KV, CorruptFrame when it is damaged or holds
    another number of tokens, UnknownCodec when its codec is not installed; `out` is then part-written.
    """
    header = frame.header
    if header.spec_fingerprint != out.spec.fingerprint():
        raise SpecMismatch(f"the frame's spec is {header.spec_fingerprint[:12]}, not {out.spec.fingerprint()[:12]}")
    if header.num_tokens != out.num_tokens:
        raise CorruptFrame(f"the frame holds {header.num_tokens} tokens, expected {out.num_tokens}")
    codec = codec_from(header.codec, header.codec_params)
    for layer, (keys, values) in enumerate(zip(out.keys, out.values, strict=True)):
        decode_layer(frame, codec, layer, keys, values)


def decode_layer(frame: Frame, codec: Codec, layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
    """Decodes one layer into `keys` and `values`; a reader may do this in layer order while bytes arrive."""
    codec.decode_layer(layer, partial(_read_section, frame, layer), keys, values)


def _read_section(
    frame: Frame, layer: int, name: str, dtype: np.dtype[Any] | type, shape: tuple[int, ...] | None = None
) -> np.ndarray:
    return frame.section(f"{layer}.{name}", dtype, shape)
