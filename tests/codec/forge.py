"""Frames a stranger could write: any header, with the checksum that belongs to it."""

import json
import struct
from copy import copy
from dataclasses import dataclass

import xxhash

CHECKSUM = slice(len(b'{"__metadata__":{"checksum":"'), len(b'{"__metadata__":{"checksum":"') + 32)


def split(frame):
    """Header and body of a frame."""
    (length,) = struct.unpack_from("<Q", frame)
    return bytes(frame[8 : 8 + length]), bytes(frame[8 + length :])


def joined(header, body):
    """The frame of a header and a body, with the header's checksum filled in."""
    header = bytearray(header + b" " * (-len(header) % 8))
    header[CHECKSUM] = b"0" * 32
    header[CHECKSUM] = xxhash.xxh3_128_hexdigest(header).encode()
    return struct.pack("<Q", len(header)) + bytes(header) + body


def forged(frame, change):
    """The frame with its header's JSON put through `change`, which edits it in place."""
    header, body = split(frame)
    entries = json.loads(header)
    change(entries)
    return joined(json.dumps(entries, separators=(",", ":")).encode(), body)


def respelled(frame, old, new):
    """The frame with `old` replaced by `new` in its header's text, once."""
    header, body = split(frame)
    assert old in header
    return joined(header.rstrip().replace(old, new, 1), body)


@dataclass
class ForgedSection:
    """One section as its header entry tells it, and its bytes."""

    name: str
    dtype: str
    shape: list
    content: bytes


@dataclass
class ForgedFrame:
    """A frame taken apart. `sealed` puts it together, every offset and checksum right; the rest may be anything."""

    metadata: dict
    sections: list

    @classmethod
    def opened(cls, frame):
        header, body = split(frame)
        entries = json.loads(header)
        metadata = entries.pop("__metadata__")
        return cls(
            metadata,
            [
                ForgedSection(name, entry["dtype"], entry["shape"], body[slice(*entry["data_offsets"])])
                for name, entry in entries.items()
            ],
        )

    def copy(self):
        return ForgedFrame(dict(self.metadata), [copy(section) for section in self.sections])

    def entries(self):
        """What the header says, as JSON would have it."""
        digests = "".join(xxhash.xxh3_64_hexdigest(section.content) for section in self.sections)
        entries, offset = {"__metadata__": {**self.metadata, "sections_xxh3": digests}}, 0
        for section in self.sections:
            offsets = [offset, offset + len(section.content)]
            entries[section.name] = {"dtype": section.dtype, "shape": [*section.shape], "data_offsets": offsets}
            offset = offsets[1]
        return entries

    def body(self):
        return b"".join(section.content for section in self.sections)

    def sealed(self):
        return joined(json.dumps(self.entries(), separators=(",", ":")).encode(), self.body())
