"""The frame: one encoded chunk as a self-describing container. The only file that packs bytes.

A frame is a safetensors file, so any tool can open it:

    u64 little-endian   length of the header
    header              JSON, space-padded to a multiple of 8 bytes
    sections            the tensors' bytes, back to back, in the order of the header

The header's first entry is the metadata (strings, as safetensors requires), and the first entry of the
metadata is `checksum`: XXH3-128 of the whole header with these 32 hex digits replaced by zeros. The
other entries are listed in `_METADATA`. Sections are named `<layer>.<name>`, lie in the order in which
a reader wants them and carry one XXH3-64 each, so it may fetch, check and decode layer by layer.
Checksums find damage, not malice: every length, offset, dtype and shape is checked before it is used.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xxhash

from codec.errors import CorruptFrame
from codec.spec import KVSpec

FORMAT_VERSION = 1
_MAX_HEADER_BYTES = 4 << 20
_MAX_POSITION = 1 << 40  # far below where 64-bit integers, or float64, would round or wrap
_MAX_DIMS, _MAX_ELEMENTS = 8, 1 << 40  # numpy refuses a shape beyond these, even an empty one
_PREFIX = b'{"__metadata__":{"checksum":"'
_CHECKSUM = slice(len(_PREFIX), len(_PREFIX) + 32)
_KEY = re.compile(rb'","kvstore_frame":"%d","key":"([0-9a-f]*)"' % FORMAT_VERSION)
_OFFSETS = b'"data_offsets":['
_LAST_OFFSETS = re.compile(re.escape(_OFFSETS) + rb"\d{1,15},(\d{1,15})\]\}\} *")
_METADATA = ("kvstore_frame", "key", "tokens", "codec", "codec_params", "spec_fingerprint", "spec", "sections_xxh3")
_DTYPES: Mapping[str, np.dtype[Any]] = {
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "F16": np.dtype("<f2"),
    "U32": np.dtype("<u4"),
    "F32": np.dtype("<f4"),
}
_DTYPE_NAMES = {dtype: name for name, dtype in _DTYPES.items()}

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True)
class Section:
    """Where one tensor of a frame lies: bytes [start, end) of the frame, and what they hold."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    end: int
    checksum: int

    def require(self, name: str, dtype: np.dtype[Any] | type, shape: tuple[int, ...] | None) -> None:
        """Raises CorruptFrame when it is of another dtype or shape (None: any one-dimensional length)."""
        shape_fits = len(self.shape) == 1 if shape is None else self.shape == shape
        if self.dtype != dtype or not shape_fits:
            raise CorruptFrame(f"section {name!r} is {self.dtype} {self.shape}, expected {dtype} {shape}")


@dataclass(frozen=True)
class FrameHeader:
    """What a frame says about itself. `start` and `end` are token positions: [start, end)."""

    num_bytes: int
    """Length of the whole frame."""
    key: str
    start: int
    end: int
    codec: str
    codec_params: Mapping[str, Any]
    spec_fingerprint: str
    spec_json: str
    sections: Mapping[str, Section]

    @property
    def num_tokens(self) -> int:
        return self.end - self.start

    @cached_property
    def spec(self) -> KVSpec:
        """The spec in full. Raises CorruptFrame when it is not the one the fingerprint names."""
        spec = KVSpec.from_json(self.spec_json)
        if spec.fingerprint() != self.spec_fingerprint:
            raise CorruptFrame("the frame's spec and its fingerprint differ")
        return spec


def pack(
    spec: KVSpec,
    key: str,
    start: int,
    end: int,
    codec: str,
    codec_params: Mapping[str, Any],
    sections: Mapping[str, np.ndarray],
) -> bytearray:
    """The bytes of a frame holding `sections` (numpy arrays, in layer order) of tokens [start, end)."""
    payload = [np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in sections.values()]
    metadata = {
        "checksum": "0" * 32,
        "kvstore_frame": str(FORMAT_VERSION),
        "key": key,
        "tokens": f"{start}:{end}",
        "codec": codec,
        "codec_params": json.dumps(codec_params, sort_keys=True, separators=(",", ":"), allow_nan=False),
        "spec_fingerprint": spec.fingerprint(),
        "spec": spec.to_json(),
        "sections_xxh3": "".join(f"{xxhash.xxh3_64_intdigest(array.data):016x}" for array in payload),
    }
    entries: dict[str, Any] = {"__metadata__": metadata}
    offset = 0
    for (name, array), raw in zip(sections.items(), payload, strict=True):
        offsets = [offset, offset + raw.size]
        entries[name] = {"dtype": _DTYPE_NAMES[array.dtype], "shape": list(array.shape), "data_offsets": offsets}
        offset += raw.size
    header = _header_bytes(entries)
    header[_CHECKSUM] = xxhash.xxh3_128_hexdigest(header).encode()
    frame = bytearray(8 + len(header) + offset)
    struct.pack_into("<Q", frame, 0, len(header))
    frame[8 : 8 + len(header)] = header
    body = np.frombuffer(frame, np.uint8, offset=8 + len(header))
    if payload:
        np.concatenate(payload, out=body)
    return frame


def _header_bytes(entries: Mapping[str, Any]) -> bytearray:
    """The only spelling of a header there is; its checksum is still to be filled in."""
    text = json.dumps(entries, separators=(",", ":")).encode()
    return bytearray(text + b" " * (-len(text) % 8))


class Frame:
    """A parsed frame over the caller's bytes: nothing is copied, sections are checked when asked for."""

    def __init__(self, data: Buffer) -> None:
        """Parses and checks the header. Raises CorruptFrame on anything `pack` would not have written."""
        self._bytes = np.frombuffer(data, np.uint8)
        self.header = read_header(data)
        if self.header.num_bytes != len(self._bytes):
            raise CorruptFrame(f"the frame is {len(self._bytes)} bytes long, not {self.header.num_bytes}")

    @classmethod
    def begun(cls, data: Buffer) -> Frame:
        """A frame of which only the first bytes are there, the header whole: later sections are missing."""
        frame = cls.__new__(cls)
        frame._bytes = np.frombuffer(data, np.uint8)
        frame.header = read_header(data)
        return frame

    @property
    def num_bytes(self) -> int:
        return len(self._bytes)

    def section(self, name: str, dtype: np.dtype[Any] | type, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """Section `name` as a read-only array over the frame's bytes, its checksum verified.

        `dtype` and `shape` are what the reader is about to rely on (None: any one-dimensional length).
        Raises CorruptFrame when the section is absent, damaged or of another dtype or shape.
        """
        section = self.header.sections.get(name)
        if section is None or section.end > len(self._bytes):
            raise CorruptFrame(f"section {name!r} is missing")
        section.require(name, dtype, shape)
        raw = self._bytes[section.start : section.end]
        if xxhash.xxh3_64_intdigest(raw.data) != section.checksum:
            raise CorruptFrame(f"section {name!r} is damaged: its checksum differs")
        array = raw.view(section.dtype).reshape(section.shape)
        array.flags.writeable = False
        return array

    def verify(self) -> None:
        """Checks every section and the spec. Raises CorruptFrame at the first that is damaged."""
        _ = self.header.spec
        for name, section in self.header.sections.items():
            self.section(name, section.dtype, section.shape)


def read_header(data: Buffer) -> FrameHeader:
    """The header of the frame that `data` begins with; `data` may end anywhere after the header.

    Raises CorruptFrame when the header is cut short, damaged, of another format or version.
    """
    header = _sound_header(data)
    try:
        entries = json.loads(header)
        if _header_bytes(entries) != header:  # a name twice, an escape: others might read it differently
            raise CorruptFrame("the header is not spelled as this project spells it")
        return _header_from(entries, 8 + len(header))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CorruptFrame(f"the header is malformed: {error!r}") from error


def read_identity(data: Buffer) -> tuple[str, int]:
    """The key of the frame that `data` begins with, and how many bytes the frame has.

    For whoever keeps frames or passes them on: the header's checksum is compared, and no more of it is looked at than
    that, which takes a fiftieth of `read_header`'s time. Raises CorruptFrame when the header is cut short or damaged.
    """
    header = _sound_header(data)
    key, sections = _KEY.match(header, _CHECKSUM.stop), header.rfind(_OFFSETS)
    last = _LAST_OFFSETS.match(header, sections) if sections >= 0 else None
    if key is None or (last is None) != (sections < 0):
        raise CorruptFrame("the header is not spelled as this project spells it")
    return key[1].decode(), 8 + len(header) + (int(last[1]) if last else 0)


def _sound_header(data: Buffer) -> bytearray:
    """The header of the frame that `data` begins with, its checksum compared, and replaced by zeros."""
    view = memoryview(data).cast("B")
    if len(view) < 8:
        raise CorruptFrame(f"{len(view)} bytes are too few for a frame")
    (length,) = struct.unpack_from("<Q", view)
    if length > _MAX_HEADER_BYTES or 8 + length > len(view):
        raise CorruptFrame(f"a header of {length} bytes does not fit into {len(view)} bytes")
    header = bytearray(view[8 : 8 + length])
    if not header.startswith(_PREFIX):
        raise CorruptFrame("not a frame of this project (no checksum where one belongs)")
    stated = bytes(header[_CHECKSUM])
    header[_CHECKSUM] = b"0" * 32
    if stated != xxhash.xxh3_128_hexdigest(header).encode():
        raise CorruptFrame("the header is damaged: its checksum differs")
    return header


def _header_from(entries: dict[str, Any], body_start: int) -> FrameHeader:
    metadata = entries.pop("__metadata__")
    if any(type(text) is not str for text in metadata.values()):
        raise CorruptFrame("the metadata holds something else than text")
    version, key, tokens, codec, params, fingerprint, spec_json, digests = (metadata[name] for name in _METADATA)
    if version != str(FORMAT_VERSION):
        raise CorruptFrame(f"frame format {version} was written by another release; this one reads {FORMAT_VERSION}")
    start, end = (int(text) for text in tokens.split(":"))
    if not 0 <= start < end <= _MAX_POSITION or tokens != f"{start}:{end}" or len(digests) != 16 * len(entries):
        raise CorruptFrame(f"tokens {tokens[:50]} or the section checksums make no sense")
    sections: dict[str, Section] = {}
    offset = 0
    for index, (name, entry) in enumerate(entries.items()):
        dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
        first, last = entry["data_offsets"]
        if first != offset or any(type(n) is not int or n < 0 for n in (*shape, first, last)):
            raise CorruptFrame(f"section {name!r} does not follow the one before it")
        if len(shape) > _MAX_DIMS or math.prod(max(n, 1) for n in shape) > _MAX_ELEMENTS:
            raise CorruptFrame(f"section {name!r} has the impossible shape {shape}")
        if last - first != math.prod(shape) * dtype.itemsize:
            raise CorruptFrame(f"section {name!r} is {last - first} bytes long, its shape {shape} {dtype} is not")
        checksum = int(digests[16 * index : 16 * index + 16], 16)
        sections[name] = Section(dtype, shape, body_start + first, body_start + last, checksum)
        offset = last
    codec_params = dict(json.loads(params))
    num_bytes = body_start + offset
    return FrameHeader(num_bytes, key, start, end, codec, codec_params, fingerprint, spec_json, sections)
