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
        for name, array in codec.encode_layer(layer, keys, values, start).items():
            sections[f"{layer}.{name}"] = array
    return pack(kv.spec, key, start, start + kv.num_tokens, codec.id, codec.params(), sections)


def decode_chunk(frame: Frame, out: KVArray, start: int | None = None) -> None:
    """Decodes the whole frame into `out`, layer by layer from the first, keys for positions from `start` on.

    `start` is where the frame was taken from unless given; any other position takes a `movable` codec, and
    ValueError is raised when it is none.

    Raises SpecMismatch when the frame holds another model's KV, CorruptFrame when it is damaged or holds
    another number of tokens, UnknownCodec when its codec is not installed, MissingProfile when its profile is
    not registered; `out` is then part-written.
    """
    header = frame.header
    if header.spec_fingerprint != out.spec.fingerprint():
        raise SpecMismatch(f"the frame's spec is {header.spec_fingerprint[:12]}, not {out.spec.fingerprint()[:12]}")
    if header.num_tokens != out.num_tokens:
        raise CorruptFrame(f"the frame holds {header.num_tokens} tokens, expected {out.num_tokens}")
    codec = codec_from(header.codec, header.codec_params).for_spec(out.spec)
    for layer, (keys, values) in enumerate(zip(out.keys, out.values, strict=True)):
        decode_layer(frame, codec, layer, keys, values, start)


def decode_layer(
    frame: Frame, codec: Codec, layer: int, keys: torch.Tensor, values: torch.Tensor, to: int | None = None
) -> None:
    """Decodes one layer into `keys` and `values`; a reader may do this in layer order while bytes arrive.

    Keys come for positions from `to` on, as for `decode_chunk`.
    """
    start = frame.header.start
    if to is not None and to != start and not codec.movable:
        raise ValueError(f"{codec.id} keeps keys as they were at position {start}; they cannot come back at {to}")
    codec.decode_layer(layer, partial(_read_section, frame, layer), keys, values, start, start if to is None else to)


def _read_section(
    frame: Frame, layer: int, name: str, dtype: np.dtype[Any] | type, shape: tuple[int, ...] | None = None
) -> np.ndarray:
    return frame.section(f"{layer}.{name}", dtype, shape)
