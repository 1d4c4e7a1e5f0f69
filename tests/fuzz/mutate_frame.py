"""Ways to forge a frame: what a stranger could change and seal again, and what damage leaves behind.

Sections are known by nothing but their dtype, shape and bytes, so this holds for every codec there will be.
"""

import hashlib
import json
from contextlib import suppress
from math import prod

from tests.codec.forge import ForgedSection, joined
from tests.fuzz.mutate_bytes import FLOATS, INTEGERS, damaged, same_length

_WIDTHS = {"U8": 1, "I8": 1, "U16": 2, "F16": 2, "U32": 4, "F32": 4}
_TEXTS = ("", "0", "-1", "lossless", "int8", "int4", "cachegen", "transform", "high", "low", "\x00", "é", "9" * 5000)
_TOKENS = ("0:1", "0:12", "12:0", "-12:0", "7:7", "1:2:3", "x", "0:99999999999", f"{1 << 63}:{(1 << 63) + 12}")


def mutated(random, frames):
    """One of the `frames` (`ForgedFrame`) forged or damaged: its index and the bytes."""
    index = random.randrange(len(frames))
    frame = frames[index].copy()
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        with suppress(ValueError, TypeError, AttributeError, KeyError, IndexError):  # of what is forged already
            random.choice(_FORGERIES)(random, frame, random.choice(frames))
    kind = random.random()
    if kind < 0.03:
        _nest(random, frame, frames[index])
    if kind < 0.8:
        return index, frame.sealed()
    if kind < 0.9:
        return index, _with_header_edited(random, frames[index])
    return index, damaged(random, frames[index].sealed())


def _content(random, frame, other):
    """Other bytes of the same length: gets past every check of sizes."""
    section = _any_section(random, frame)
    section.content = same_length(random, section.content)


def _resized(random, frame, other):
    """Other bytes, of another length mostly, and the shape that goes with them."""
    section = _any_section(random, frame)
    section.content = damaged(random, section.content)
    width = _WIDTHS[section.dtype]
    if len(section.shape) == 1 or random.random() < 0.5:
        section.content = section.content[: len(section.content) // width * width]
        section.shape = [len(section.content) // width]


def _exchanged(random, frame, other):
    """Two sections of one frame trade what they hold: between layers, or keys and values."""
    a, b = _any_section(random, frame), _any_section(random, frame)
    a.dtype, a.shape, a.content, b.dtype, b.shape, b.content = b.dtype, b.shape, b.content, a.dtype, a.shape, a.content


def _spliced(random, frame, other):
    """A section comes from another frame: the same one there, or any."""
    section = _any_section(random, frame)
    same = [theirs for theirs in other.sections if theirs.name == section.name]
    theirs = same[0] if same and random.random() < 0.8 else random.choice(other.sections)
    section.dtype, section.shape, section.content = theirs.dtype, theirs.shape, theirs.content


def _grafted(random, frame, other):
    """Every section comes from another frame; the metadata stays."""
    frame.sections[:] = other.copy().sections


def _reshaped(random, frame, other):
    section = _any_section(random, frame)
    count = prod(section.shape)
    shapes = [
        [count],
        [1, count],
        [*section.shape, 1],
        section.shape[::-1],
        [],
        [0],
        [count, 0],
        [*section.shape, 1 << 30],
    ]
    section.shape = random.choice(shapes)


def _retyped(random, frame, other):
    section = _any_section(random, frame)
    before, section.dtype = _WIDTHS[section.dtype], random.choice(tuple(_WIDTHS))
    if section.shape and random.random() < 0.7:
        section.shape = [*section.shape[:-1], section.shape[-1] * before // _WIDTHS[section.dtype]]


def _renamed(random, frame, other):
    section = _any_section(random, frame)
    section.name = random.choice(("", "0", "0.", "1.x", "__metadata__", random.choice(other.sections).name))


def _removed(random, frame, other):
    if len(frame.sections) > 1:
        frame.sections.remove(_any_section(random, frame))


def _added(random, frame, other):
    content = random.randbytes(random.randrange(20))
    section = ForgedSection(f"{random.randrange(3)}.more", "U8", [len(content)], content)
    frame.sections.insert(random.randrange(len(frame.sections) + 1), section)


def _positions(random, frame, other):
    """Other positions of as many tokens, or anything."""
    start, end = (int(text) for text in frame.metadata["tokens"].split(":"))
    to = random.choice((0, 1, 4095, 1 << 24, 1 << 40, *INTEGERS, 10**30, 10**400))
    frame.metadata["tokens"] = random.choice((f"{to}:{to + end - start}", f"{to}:{to + end - start}", *_TOKENS))


def _parameters(random, frame, other):
    params = json.loads(frame.metadata["codec_params"])
    if params and random.random() < 0.8:
        params[random.choice(tuple(params))] = _any_value(random)
    else:
        params[random.choice(_TEXTS)] = _any_value(random)
    frame.metadata["codec_params"] = json.dumps(params, sort_keys=True, separators=(",", ":"))


def _codec(random, frame, other):
    frame.metadata["codec"] = random.choice(_TEXTS[:9])


def _spec(random, frame, other):
    """Another model's, under a fingerprint that fits it or not."""
    spec = json.loads(frame.metadata["spec"])
    _edit(random, random.choice((spec, spec["groups"][0], spec["groups"][-1], spec["groups"][0]["rotary"])))
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    frame.metadata["spec"] = text
    if random.random() < 0.5:
        frame.metadata["spec_fingerprint"] = hashlib.sha256(text.encode()).hexdigest()


def _nest(random, frame, original):
    """JSON within the JSON that is nested about as deep as parsers go."""
    name, depth = random.choice(("codec_params", "spec")), random.choice((100, random.randrange(850, 1000), 5000))
    opening, closing = random.choice((("[", "]"), ('{"a":', "}")))
    tree = json.loads(original.metadata[name])
    inner = tree["groups"][0]["rotary"] if name == "spec" else tree
    inner[random.choice((*inner, "a"))] = "DEEP"
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"))
    frame.metadata[name] = text.replace('"DEEP"', opening * depth + "0" + closing * depth)


def _metadata(random, frame, other):
    frame.metadata[random.choice(tuple(frame.metadata))] = _any_value(random)


def _with_header_edited(random, frame):
    """The frame with any value of its header another one, its checksum right."""
    entries = frame.entries()
    _edit(random, entries[random.choice(tuple(entries))])
    return joined(json.dumps(entries, separators=(",", ":")).encode(), frame.body())


def _edit(random, tree):
    """One value somewhere in JSON becomes another, goes, or comes."""
    places = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    place = random.choice(places) if places else "more"
    if not places or (isinstance(tree, dict) and random.random() < 0.1):
        tree["rope_theta" if random.random() < 0.5 else "more"] = _any_value(random)
    elif isinstance(tree[place], dict | list) and tree[place] and random.random() < 0.7:
        _edit(random, tree[place])
    elif random.random() < 0.15:
        del tree[place]
    else:
        tree[place] = _any_value(random)


def _any_value(random):
    kind = random.randrange(5)
    if kind == 0:
        return random.choice((1, -1)) * random.choice(INTEGERS)
    if kind == 1:
        return random.choice(FLOATS)
    if kind == 2:
        return random.choice(_TEXTS)
    if kind == 3:
        return random.choice((None, True, False, [], {}, [[]], {"a": {}}, [1, 2], 1e300, 5e-324, 10**400))
    return random.uniform(-10, 10)


def _any_section(random, frame):
    return random.choice(frame.sections)


_FORGERIES = (
    *(_content, _content, _content, _content, _content, _content, _content, _content, _content, _content),
    *(_resized, _resized, _resized, _spliced, _spliced, _exchanged, _exchanged, _grafted, _positions, _parameters),
    *(_reshaped, _retyped, _renamed, _removed, _added, _codec, _spec, _metadata),
)
