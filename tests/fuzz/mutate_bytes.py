"""Ways to damage a run of bytes: bits, extreme numbers, pieces cut, repeated, moved, and entropy-coded streams."""

import struct

INTEGERS = (
    *(0, 1, 2, 3, 7, 8, 9, 15, 16, 31, 63, 64, 65, 127, 128, 255, 256, 4095, 4096, 32767, 32768, 65535, 65536),
    *((1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 62) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1),
)
FLOATS = (
    *(0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 1e-38, 1e-20, 65504.0, 65520.0, -65520.0, 1e30, 1e38, -1e38),
    *(3.4e38, -3.4e38, float("inf"), float("-inf"), float("nan")),
)
_LANES = (8, 16, 32, 64)


def damaged(random, content):
    """`content` changed in one way; its length may change too."""
    if not content:
        return random.randbytes(random.randrange(1, 80))
    change = random.choice(_CHANGES)
    return change(random, content)


def same_length(random, content):
    """`content` changed in one way that keeps its length."""
    return random.choice(_IN_PLACE)(random, content) if content else content


def _flip(random, content):
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 8))):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _integer(random, content):
    width, value = random.choice((1, 2, 4, 8)), random.choice(INTEGERS)
    return _written(random, content, (value & ((1 << 8 * width) - 1)).to_bytes(width, "little"))


def _float(random, content):
    value = random.choice(FLOATS)
    kind = random.choice("fH")
    return _written(random, content, struct.pack("<f", value)[2 if kind == "H" else 0 :])


def _half(random, content):
    return _written(random, content, random.choice((b"\x00\x7c", b"\x00\xfc", b"\x01\x7e", b"\xff\x7b", b"\x01\x00")))


def _noise(random, content):
    return _written(random, content, random.randbytes(random.choice((1, 2, 4, 16, 64))))


def _fill(random, content):
    start, end = _piece(random, content)
    return content[:start] + random.choice((b"\x00", b"\xff", b"\x7f", b"\x80")) * (end - start) + content[end:]


def _written(random, content, new):
    """`new` over `content`, where numbers are likely to stand, cut at the end."""
    offset = random.choice((0, 4, 8, len(content) - len(new), random.randrange(len(content))))
    offset = min(max(offset, 0), len(content) - 1)
    new = new[: len(content) - offset]
    return content[:offset] + new + content[offset + len(new) :]


def _exchange(random, content):
    """Two pieces of equal length trade places."""
    length = random.randrange(1, len(content) // 2 + 1) if len(content) > 1 else 0
    first = random.randrange(len(content) - 2 * length + 1)
    second = random.randrange(first + length, len(content) - length + 1)
    a, b = content[first : first + length], content[second : second + length]
    return content[:first] + b + content[first + length : second] + a + content[second + length :]


def _cut(random, content):
    return content[: random.randrange(len(content))]


def _remove(random, content):
    start, end = _piece(random, content)
    return content[:start] + content[end:]


def _repeat(random, content):
    start, end = _piece(random, content)
    return content[:end] + content[start:]


def _insert(random, content):
    place = random.randrange(len(content) + 1)
    return content[:place] + random.randbytes(random.choice((1, 2, 4, 8, 100))) + content[place:]


def _piece(random, content):
    start = random.randrange(len(content))
    return start, random.randrange(start, min(len(content), start + 64)) + 1


def _stream(random, content):
    """The header of an entropy-coded stream somewhere in `content`, or what follows it, is forged."""
    starts = [
        at for at in range(len(content) - 8) if content[at + 5 : at + 8] == b"\0\0\0" and content[at + 4] in _LANES
    ]
    if not starts:
        return _integer(random, content)
    at = random.choice(starts)
    count, lanes = struct.unpack_from("<II", content, at)
    states = content[at + 8 : at + 8 + 4 * lanes]
    words = content[at + 8 + 4 * lanes :]
    what = random.randrange(5)
    if what == 0:
        count = random.choice((0, count - 1, count + 1, 2 * count, random.choice(INTEGERS))) & 0xFFFFFFFF
    elif what == 1:
        lanes = random.choice((*_LANES, 0, 1, 7, 128, 1 << 20, (1 << 30) + 8, (1 << 32) - 8))
    elif what == 2:
        states = struct.pack("<I", random.choice((0, 65535, 65536, (1 << 32) - 1))) * (len(states) // 4)
    elif what == 3:
        words = random.choice((b"", words[2:], words[:-2], words + b"\0\0", random.randbytes(len(words))))
    else:
        states = random.randbytes(len(states))
    return content[:at] + struct.pack("<II", count, lanes) + states + words


_IN_PLACE = (_flip, _integer, _float, _half, _noise, _fill, _exchange)
_CHANGES = (*_IN_PLACE, _flip, _integer, _cut, _remove, _repeat, _insert, _stream, _stream)
