"""Headers a stranger wrote, their checksum right: every length, offset, dtype and shape is checked anyway."""

import hashlib
import json
import struct
from contextlib import suppress

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from codec import CorruptFrame, Frame, KVArray, Lossless, decode_chunk, encode_chunk
from tests.codec.forge import forged, joined, respelled, split
from tests.kv import SPEC, bits, kv_of_numbers

KV = kv_of_numbers(SPEC, 4)
FRAME = bytes(encode_chunk(Lossless(), KV, "ef" * 32, 0))
SECTION = "0.low"
ENTRY = json.loads(split(FRAME)[0])[SECTION]


def refused(data):
    with pytest.raises(CorruptFrame):
        read_everything(data)


def read_everything(data):
    frame, out = Frame(data), KVArray.empty(SPEC, 4)
    frame.verify()
    decode_chunk(frame, out)
    return out


def test_forging_nothing_gives_the_same_frame():
    assert forged(FRAME, lambda entries: None) == FRAME


@pytest.mark.parametrize("length", [0, 1, 7, 1 << 22, (1 << 22) + 8, 1 << 31, 1 << 32, 1 << 62, (1 << 64) - 1])
def test_a_header_length_is_checked_before_it_is_used(length):
    refused(struct.pack("<Q", length) + FRAME[8:])


HOSTILE_ENTRIES = {
    "offsets beyond the end": {"data_offsets": [ENTRY["data_offsets"][0], 1 << 40]},
    "offsets beyond 64 bits": {"data_offsets": [ENTRY["data_offsets"][0], 1 << 70]},
    "negative offsets": {"data_offsets": [-8, ENTRY["data_offsets"][1]]},
    "offsets backwards": {"data_offsets": ENTRY["data_offsets"][::-1]},
    "overlapping offsets": {"data_offsets": [ENTRY["data_offsets"][0] - 1, ENTRY["data_offsets"][1] - 1]},
    "offsets with a gap": {"data_offsets": [ENTRY["data_offsets"][0] + 1, ENTRY["data_offsets"][1] + 1]},
    "float offsets": {"data_offsets": [float(offset) for offset in ENTRY["data_offsets"]]},
    "three offsets": {"data_offsets": [*ENTRY["data_offsets"], 0]},
    "one offset": {"data_offsets": ENTRY["data_offsets"][:1]},
    "offsets as text": {"data_offsets": "01"},
    "no offsets": {"data_offsets": None},
    "another width": {"dtype": "U16"},
    "the same width, signed": {"dtype": "I8"},
    "bfloat16": {"dtype": "BF16"},
    "dtype as list": {"dtype": ["U8"]},
    "no dtype": {"dtype": None},
    "huge shape": {"shape": [1 << 62, 4]},
    "huge empty shape": {"shape": [0, 1 << 62, 1 << 62]},
    "shape that overflows to the right size": {"shape": [(1 << 64) + ENTRY["shape"][0]]},
    "negative shape": {"shape": [-1, -ENTRY["shape"][0]]},
    "true shape": {"shape": [True, ENTRY["shape"][0]]},
    "float shape": {"shape": [float(ENTRY["shape"][0])]},
    "a hundred axes": {"shape": [1] * 100 + ENTRY["shape"]},
    "another rank": {"shape": [1, *ENTRY["shape"]]},
    "shape as text": {"shape": "4"},
    "shape as number": {"shape": 4},
    "endless digits": {"shape": [10**4000]},
}


@pytest.mark.parametrize("change", HOSTILE_ENTRIES.values(), ids=HOSTILE_ENTRIES)
def test_a_hostile_section_entry_is_refused(change):
    refused(forged(FRAME, lambda entries: entries[SECTION].update(change)))


@pytest.mark.parametrize("entry", [None, 7, "text", [], {}, {"dtype": "U8"}])
def test_a_section_entry_of_another_kind_is_refused(entry):
    refused(forged(FRAME, lambda entries: entries.update({SECTION: entry})))


HOSTILE_METADATA = {
    "tokens backwards": {"tokens": "4:0"},
    "no tokens": {"tokens": "4:4"},
    "negative tokens": {"tokens": "-4:0"},
    "tokens without end": {"tokens": "0"},
    "three positions": {"tokens": "0:4:8"},
    "tokens as words": {"tokens": "a:b"},
    "tokens with a sign": {"tokens": "+0:4"},
    "tokens in other digits": {"tokens": "\N{ARABIC-INDIC DIGIT ZERO}:4"},
    "as many tokens, further away than any": {"tokens": f"{1 << 62}:{(1 << 62) + 4}"},
    "as many tokens, beyond 64 bits": {"tokens": f"{10**30}:{10**30 + 4}"},
    "endless tokens": {"tokens": "0:" + "9" * 10_000},
    "more tokens than sections hold": {"tokens": "0:99999999"},
    "a checksum too few": {"sections_xxh3": "0" * 16},
    "no hex digits": {"sections_xxh3": "z" * 16 * 10},
    "no codec parameters": {"codec_params": ""},
    "codec parameters that are no object": {"codec_params": "[1,2]"},
    "deep codec parameters": {"codec_params": '{"a":' * 50_000 + "1" + "}" * 50_000},
    "unknown codec parameters": {"codec_params": '{"a":1}'},
    "a spec that is none": {"spec": "{}"},
    "a deep spec": {"spec": "[" * 100_000},
    "codec as number": {"codec": 1},
    "spec as object": {"spec": {}},
    "key as null": {"key": None},
}


@pytest.mark.parametrize("change", HOSTILE_METADATA.values(), ids=HOSTILE_METADATA)
def test_hostile_metadata_is_refused(change):
    refused(forged(FRAME, lambda entries: entries["__metadata__"].update(change)))


@pytest.mark.parametrize("depth", range(700, 1000))
def test_a_spec_nested_about_as_deeply_as_can_be_parsed_is_refused(depth):
    nested = '{"a":' * depth + "0" + "}" * depth
    spec = SPEC.to_json().replace("10000.0", nested, 1)
    fingerprint = hashlib.sha256(spec.encode()).hexdigest()
    frame = forged(FRAME, lambda entries: entries["__metadata__"].update(spec=spec, spec_fingerprint=fingerprint))
    with suppress(CorruptFrame):
        Frame(frame).verify()


@pytest.mark.parametrize("name", [name for name in json.loads(split(FRAME)[0])["__metadata__"] if name != "checksum"])
def test_every_entry_of_the_metadata_is_needed(name):
    refused(forged(FRAME, lambda entries: entries["__metadata__"].pop(name)))


def test_a_section_more_than_there_are_checksums_is_refused():
    refused(forged(FRAME, lambda entries: entries.update(more={"dtype": "U8", "shape": [0], "data_offsets": [0, 0]})))


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_section_that_overlaps_or_leaves_a_gap_is_refused_though_its_checksum_is_right(shift):
    def move(entries):
        entry, digests = entries[SECTION], entries["__metadata__"]["sections_xxh3"]
        start, end = (offset + shift for offset in entry["data_offsets"])
        place = 16 * (list(entries).index(SECTION) - 1)
        digest = xxhash.xxh3_64_hexdigest(split(FRAME)[1][start:end])
        entries["__metadata__"]["sections_xxh3"] = digests[:place] + digest + digests[place + 16 :]
        entry["data_offsets"] = [start, end]

    refused(forged(FRAME, move))


SPELLINGS = {
    "a section twice": (b'"0.low":', b'"0.low":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"0.low":'),
    "the same section twice": (b'"shape"', b'"shape":[1],"shape"'),
    "a second key": (b'"tokens"', b'"key":"' + b"0" * 64 + b'","tokens"'),
    "a space": (b'"0.low":', b'"0.low": '),
    "an escape": (b'"0.low":', b'"0.\\u006cow":'),
    "NaN for a shape": (b'"shape":[', b'"shape":[NaN,'),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_a_header_spelled_in_another_way_is_refused(spelling):
    refused(respelled(FRAME, *spelling))


def test_metadata_given_twice_is_refused():
    header, body = split(FRAME)
    again = header.rstrip()[:-1] + b',"__metadata__":' + json.dumps(json.loads(header)["__metadata__"]).encode() + b"}"
    refused(joined(again, body))


@pytest.mark.parametrize("inner", [b'{"a":' * 100_000, b"[" * 1_000_000, b'"', b"\xff\xfe", b"\x00", b""])
def test_a_header_that_is_no_json_is_refused(inner):
    start = split(FRAME)[0][: len(b'{"__metadata__":{"checksum":"') + 32]
    refused(joined(start + b'","x":' + inner, b""))


numbers = st.integers() | st.floats() | st.booleans() | st.none()
values = numbers | st.text(max_size=3) | st.lists(numbers, max_size=4)


@given(field=st.sampled_from(["dtype", "shape", "data_offsets"]), value=values)
def test_any_value_in_a_section_entry_is_refused_or_harmless(field, value):
    try:
        out = read_everything(forged(FRAME, lambda entries: entries[SECTION].update({field: value})))
    except CorruptFrame:
        return
    assert bits(out) == bits(KV)
