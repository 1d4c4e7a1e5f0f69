"""What is fuzzed: a subject makes an input from a random generator and attempts to decode it.

`next(random)` gives the bytes and what `attempt` needs beside them; `originals()` those that must be taken.
"""

from functools import partial

import numpy as np

from codec import (
    CacheGen,
    Frame,
    Int4,
    Int8,
    Lossless,
    Profile,
    Transform,
    bytes_needed,
    decode_chunk,
    rans,
    rans_reference,
)
from codec.cachegen import LEVELS
from codec.errors import CorruptFrame, KVCacheError
from codec.frame import read_header
from codec.registry import BUILT_IN
from codec.transform import PROGRESSIVE
from tests.codec.calibrated import profile_for
from tests.codec.forge import ForgedFrame
from tests.codec.rans_cases import laplace_tables, symbols_from
from tests.fuzz.mutate_bytes import damaged
from tests.fuzz.mutate_frame import mutated
from tests.fuzz.room import Broken, Room
from tests.fuzz.seeds import frames_of, profiles

REFUSALS = KVCacheError
"""How a decoder may refuse: CorruptFrame, or one of its siblings."""
_POSITIONS = (None, None, 0, 24, 100_000)


def subjects():
    """Everything that decodes bytes, by name."""
    codecs = {"lossless": lambda spec: Lossless(), "int8": lambda spec: Int8(), "int4": lambda spec: Int4()}
    codecs |= {f"cachegen-{level}": partial(_cachegen, level) for level in LEVELS}
    codecs["transform"] = lambda spec: Transform(profile_for(spec), "high")
    made = [*(Frames(name, codec_for) for name, codec_for in codecs.items())]
    made += [Begun(), Headers(), Profiles(), Streams()]
    return {subject.name: subject for subject in made}


def _cachegen(level, spec):
    return CacheGen(level, spec.num_layers)


class Frames:
    """Frames of one codec, decoded into room for what they were made of."""

    def __init__(self, name, codec_for):
        contents = frames_of(codec_for)
        self.name, self._frames = name, [ForgedFrame.opened(content) for content in contents]
        headers, rooms = [read_header(content) for content in contents], {}
        self._rooms = [
            rooms.setdefault((header.spec_fingerprint, header.num_tokens), Room(header.spec, header.num_tokens))
            for header in headers
        ]

    def next(self, random):
        index, content = mutated(random, self._frames)
        return content, (index, random.choice(_POSITIONS))

    def originals(self):
        return [(frame.sealed(), (index, None)) for index, frame in enumerate(self._frames)]

    def attempt(self, content, beside):
        index, to = beside
        room, frame = self._rooms[index], Frame(content)
        codec = BUILT_IN.get(frame.header.codec, Lossless)
        room.clear()
        decode_chunk(frame, room.kv, to if codec.movable else None)
        room.require_legal(codec.lossless)


class Begun(Frames):
    """Progressive frames, of which only the bytes are there that some quality needs."""

    def __init__(self):
        super().__init__("transform-progressive", lambda spec: Transform(profile_for(spec), PROGRESSIVE))

    def next(self, random):
        content, beside = super().next(random)
        return content, (*beside, random.choice((None, "small", "balanced", "high")))

    def originals(self):
        return [(content, (*beside, "small")) for content, beside in super().originals()]

    def attempt(self, content, beside):
        index, to, quality = beside
        room, header = self._rooms[index], read_header(content)
        codec = BUILT_IN.get(header.codec, Lossless)
        if codec is not Transform or header.codec_params.get("quality") != PROGRESSIVE:
            quality = None
        room.clear()
        frame = Frame.begun(content[: bytes_needed(header, quality)])
        decode_chunk(frame, room.kv, to if codec.movable else None, quality)
        room.require_legal(codec.lossless)


class Headers:
    """Any codec's frames, read as tiers and tools do: the header alone, the spec, every section's checksum."""

    name = "header"

    def __init__(self):
        contents = [*frames_of(lambda spec: Int8())[::4], *frames_of(lambda spec: Lossless())[::4]]
        self._frames = [ForgedFrame.opened(content) for content in contents]

    def next(self, random):
        _, content = mutated(random, self._frames)
        return content, random.random()

    def originals(self):
        return [(frame.sealed(), 1.0) for frame in self._frames]

    def attempt(self, content, beside):
        header = read_header(content[: int(beside * len(content))] if beside < 0.2 else content)
        if not 0 <= header.start < header.end:
            raise Broken(f"a header of the tokens [{header.start}, {header.end}) was taken")
        if beside >= 0.2:
            Frame(content).verify()


class Profiles:
    """Profiles read from bytes; one that is taken must then decode the frames of another, or refuse."""

    name = "profile"

    def __init__(self):
        made = profiles()
        self._profiles = [ForgedFrame.opened(profile.content) for profile in made]
        self._frames = [[Frame(frame) for frame in self._coded(profile)] for profile in made]
        self._rooms = {}

    def next(self, random):
        index, content = mutated(random, self._profiles)
        return content, (index, random.randrange(len(self._frames[index])), random.choice(_POSITIONS))

    def originals(self):
        return [(profile.sealed(), (index, 0, None)) for index, profile in enumerate(self._profiles)]

    def attempt(self, content, beside):
        index, which, to = beside
        profile, frame = Profile.from_content(content), self._frames[index][which]
        for quality in profile.levels:
            codec = Transform(profile, quality).for_spec(frame.header.spec)
            room, start = self._room(frame.header), frame.header.start
            for _ in codec.decode(frame.section, room.kv, start, start if to is None else to):
                pass
            room.require_legal(lossless=False)

    def _room(self, header):
        place = header.spec_fingerprint, header.num_tokens
        if place not in self._rooms:
            self._rooms[place] = Room(header.spec, header.num_tokens)
        self._rooms[place].clear()
        return self._rooms[place]

    @staticmethod
    def _coded(profile):
        return frames_of(lambda spec: Transform(profile), [profile.spec])


class Streams:
    """Bare entropy-coded streams. One in eight also goes to the plain-Python reference, which must agree."""

    name = "rans"

    def __init__(self):
        self._cases = []
        for seed, (num_tables, num_symbols, num_columns, num_rows) in enumerate(
            [(1, 2, 1, 9), (2, 5, 3, 7), (3, 62, 11, 12), (2, 256, 17, 1), (1, 1, 4, 4), (2, 16, 64, 3)]
        ):
            tables, columns = laplace_tables(num_tables, num_symbols=num_symbols), np.arange(num_columns) % num_tables
            symbols = symbols_from(tables, columns, num_rows, seed)
            for num_lanes in rans.LANES:
                stream = rans.encode(symbols, columns, tables, num_lanes).tobytes()
                self._cases.append((stream, num_rows, columns, tables))

    def next(self, random):
        case = random.randrange(len(self._cases))
        stream = self._cases[case][0] if random.random() < 0.9 else random.choice(self._cases)[0]
        for _ in range(random.choice((1, 1, 1, 2))):
            stream = damaged(random, stream)
        return stream, (case, random.random() < 0.125)

    def originals(self):
        return [(stream, (case, True)) for case, (stream, *_) in enumerate(self._cases)]

    def attempt(self, content, beside):
        case, with_reference = beside
        _, num_rows, columns, tables = self._cases[case]
        around = np.full((num_rows + 2) * len(columns) + 64, 0xA5, np.uint8)
        out = around[len(columns) + 32 : (num_rows + 1) * len(columns) + 32].reshape(num_rows, len(columns))
        try:
            rans.decode(np.frombuffer(content, np.uint8), num_rows, columns, tables, out)
            accepted = True
        except CorruptFrame as error:
            accepted, refusal = False, error
        if (around[: len(columns) + 32] != 0xA5).any() or (around[(num_rows + 1) * len(columns) + 32 :] != 0xA5).any():
            raise Broken("the entropy decoder wrote beside its symbols")
        if with_reference:
            _require_reference_agrees(content, num_rows, columns, tables, out if accepted else None)
        if not accepted:
            raise refusal
        if out.max() >= tables.num_symbols:
            raise Broken("a decoded symbol is not in its table")


def _require_reference_agrees(content, num_rows, columns, tables, symbols):
    try:
        expected = rans_reference.decode(content, num_rows, columns.tolist(), tables)
    except CorruptFrame:
        expected = None
    if (symbols is None) != (expected is None) or (expected is not None and not np.array_equal(symbols, expected)):
        raise Broken("the entropy decoder and its reference differ")
