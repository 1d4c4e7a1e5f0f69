"""Which codecs there are: ours by name, others through the `kvstore.codecs` entry points."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from codec.cachegen import CacheGen
from codec.codec import Codec
from codec.errors import CorruptFrame, UnknownCodec
from codec.int4 import Int4
from codec.int8 import Int8
from codec.lossless import Lossless
from codec.transform import Transform

BUILT_IN: Mapping[str, type[Codec]] = {codec.id: codec for codec in (Lossless, Int8, Int4, CacheGen, Transform)}


def codec_class(codec_id: str) -> type[Codec]:
    """The codec of that name. Raises UnknownCodec, which names the ones there are."""
    if codec_id in BUILT_IN:
        return BUILT_IN[codec_id]
    installed = _installed()
    if codec_id in installed:
        codec: type[Codec] = installed[codec_id].load()
        return codec
    names = ", ".join(sorted({*BUILT_IN, *installed}))
    raise UnknownCodec(f"no codec named {codec_id!r} is installed; there are: {names}")


@cache  # looking through every package takes 10 ms: too long for each frame of a name nobody knows
def _installed() -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="kvstore.codecs")}


def codec_from(codec_id: str, params: Mapping[str, Any] | None = None) -> Codec:
    """The codec of that name with these parameters: the same one for the same, since making one may take work.

    Raises UnknownCodec, MissingProfile, or CorruptFrame when the parameters make no sense.
    """
    try:
        return _codec(codec_id, json.dumps(params or {}, sort_keys=True))
    except RecursionError as error:
        raise CorruptFrame(f"the parameters of {codec_id!r} are nested too deeply") from error


@lru_cache(maxsize=64)  # frames of strangers must not fill the memory
def _codec(codec_id: str, params: str) -> Codec:
    return codec_class(codec_id).from_params(json.loads(params))
