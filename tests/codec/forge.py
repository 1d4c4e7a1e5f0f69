"""Frames a stranger could write: any header, with the checksum that belongs to it."""

import json
import struct

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
