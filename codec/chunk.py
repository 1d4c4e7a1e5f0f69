"""A chunk's KV array to a frame's bytes and back, whole, layer by layer, or at a lower quality."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from codec.codec import Codec
from codec.device_frame import DeviceFrame
from codec.errors import CorruptFrame, SpecMismatch
from codec.frame import Frame, FrameHeader, pack
from codec.kv_array import KVArray
from codec.registry import codec_from
from codec.rotary import rotary_of_layers


def encode_chunk(codec: Codec, kv: KVArray, key: str, start: int) -> bytearray:
    """The frame of `kv`, whose first token stands at position `start`, under the name `key`."""
    codec = codec.for_spec(kv.spec)
    return pack(kv.spec, key, start, start + kv.num_tokens, codec.id, codec.params(), dict(codec.encode(kv, start)))


def decode_chunk(frame: Frame, out: KVArray, start: int | None = None, quality: str | None = None) -> None:
    """Decodes the whole frame into `out`, keys for positions from `start` on.

    `start` is where the frame was taken from unless given. Codecs that are not `movable` decode for that place; keys
    are then turned to where they are wanted, which rounds them once more, and raises UnsupportedRotary where they
    cannot be.
    `quality` is the frame's own unless given; another one takes a codec whose frames hold it (`Codec.coarser`).
    ValueError is raised where the codec is none.

    Raises SpecMismatch when the frame holds another model's KV, CorruptFrame when it is damaged or holds
    another number of tokens, UnknownCodec when its codec is not installed, MissingProfile when its profile is
    not registered; `out` is then part-written.
    """
    for _ in decode_layers(frame, out, start, quality):
        pass


def decode_layers(frame: Frame, out: KVArray, start: int | None = None, quality: str | None = None) -> Iterator[int]:
    """As `decode_chunk`, step by step: yields how many layers of `out` are there, whenever there are more.

    A reader may compute with them before it asks for more.
    """
    codec, taken_from, to = _codec_and_places(frame.header, out, start, quality)
    there = 0
    for num_layers in codec.decode(frame.section, out, taken_from, to if codec.movable else taken_from):
        if not codec.movable:
            _move(out, range(there, num_layers), taken_from, to)
        there = num_layers
        yield num_layers


def decode_chunk_on_device(frame: DeviceFrame, out: KVArray, start: int | None = None) -> bool:
    """As `decode_chunk`, where the frame and `out` lie, and done on return; the bytes never come to the host.

    False, with `out` part-written at most, when the codec cannot, or the device has no memory for it.
    """
    codec, taken_from, to = _codec_and_places(frame.header, out, start, None)
    try:
        decoded = codec.decode_on_device(frame.section, out, taken_from, to if codec.movable else taken_from)
        if decoded and not codec.movable:
            _move(out, range(out.spec.num_layers), taken_from, to)
    except torch.OutOfMemoryError:
        return False
    if frame.data.is_cuda:
        torch.cuda.current_stream(frame.data.device).synchronize()
    return decoded


def _move(out: KVArray, layers: Iterable[int], start: int, to: int) -> None:
    """Keys that are there for positions from `start` on, to positions from `to` on."""
    if start == to:
        return
    rotary = rotary_of_layers(out.spec)
    for layer in layers:
        out.keys[layer].copy_(rotary[layer].move(out.keys[layer], start, to))


def _codec_and_places(
    header: FrameHeader, out: KVArray, start: int | None, quality: str | None
) -> tuple[Codec, int, int]:
    """What decodes a frame into `out`, the position it was taken from, and the one for which it is wanted.

    Raises as `decode_chunk`.
    """
    if header.spec_fingerprint != out.spec.fingerprint():
        raise SpecMismatch(f"the frame's spec is {header.spec_fingerprint[:12]}, not {out.spec.fingerprint()[:12]}")
    if header.num_tokens != out.num_tokens:
        raise CorruptFrame(f"the frame holds {header.num_tokens} tokens, expected {out.num_tokens}")
    codec = _reader(header, quality).for_spec(out.spec)
    return codec, header.start, header.start if start is None else start


def bytes_needed(header: FrameHeader, quality: str | None = None) -> int:
    """How many bytes of the frame, from its first, `decode_chunk` needs at that quality.

    Raises as `decode_chunk` does on a codec, a profile or a quality that is not there.
    """
    codec = _reader(header, quality)
    ends = [section.end for name, section in header.sections.items() if codec.needs(name)]
    return max(ends, default=header.num_bytes)


def _reader(header: FrameHeader, quality: str | None) -> Codec:
    codec = codec_from(header.codec, header.codec_params)
    return codec if quality is None else codec.coarser(quality)
