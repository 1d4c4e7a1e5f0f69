"""One frame by its key: put, whole or not at all; got, whole or in parts; forgotten, in time or at once."""

import os
import time

import pytest
import xxhash

from codec import Frame, Int8, KVArray, Lossless, Transform, decode_layers, read_header
from kvstore import DiskTier, MemoryTier, SecondSight, Tiers, TierUnavailable
from kvstore.testing import key
from tests.codec.calibrated import movable, profile_for
from tests.connectors.sidecar.asking import PATIENCE_S, Asking, wire
from tests.connectors.sidecar.conftest import CAPACITY_BYTES
from tests.connectors.sidecar.serving import serving
from tests.connectors.sidecar.sound import TOKENS, sound, sound_prompt, whole
from tests.kv import SPEC
from tests.kvstore.faulty import FaultyTier
from tests.kvstore.test_disk_faults import small_disk  # noqa: F401, a fixture

SIZES = [1, 1000, 65_000, 70_000, 1 << 20, 5 << 20, 17 << 20]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("over_socket", [False, True])
def test_what_was_put_comes_back_byte_for_byte(served, size, over_socket):
    ask, this = Asking(served, over_socket=over_socket), key(str(size))
    frame = sound(this, size)
    assert ask.put(this, frame).json == {"stored": 1, "durable": False}
    got = ask.get(this)
    assert (got.status, got.headers["content-type"]) == (200, "application/octet-stream")
    assert got.body == frame
    assert got.headers["kvstore-xxh3"] == xxhash.xxh3_128_hexdigest(frame)


def test_what_is_not_held_is_not_found(ask):
    assert ask.get(key("a")).code == "not-found"
    assert ask("HEAD", f"/v1/frames/{key('a')}").status == 404
    assert ask("DELETE", f"/v1/frames/{key('a')}").code == "not-found"


def test_head_says_what_get_gives(ask, tiers):
    keys, frames = sound_prompt("a", 2)
    ask.put(keys[0], frames[0])
    ask.put(keys[1], frames[1], parent=keys[0], ttl_s=1000)
    head, got = ask("HEAD", f"/v1/frames/{keys[1]}"), ask.get(keys[1])
    assert head.status == got.status == 200
    assert head.body == b""
    assert head.headers["content-length"] == got.headers["content-length"] == str(len(frames[1]))
    assert head.headers["content-type"] == got.headers["content-type"]
    assert head.headers["kvstore-parent"] == str(keys[0])
    assert head.headers["kvstore-pinned"] == "false"
    assert 900 < float(head.headers["kvstore-expires-at"]) - time.time() < 1001
    first = ask("HEAD", f"/v1/frames/{keys[0]}").headers
    assert (first["kvstore-parent"], first["kvstore-expires-at"], first["kvstore-hits"]) == ("", "", "0")


def test_a_get_is_a_use_unless_told_otherwise(ask, tiers):
    ask.put(key("a"), sound(key("a")))
    for times, touch in ((1, True), (1, False), (2, True)):
        ask.get(key("a"), touch=touch)
        assert tiers.entry(key("a")).hits == times


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (lambda frame: frame[:-1], "corrupt-frame"),
        (lambda frame: frame + b"x", "corrupt-frame"),
        (lambda frame: b"", "corrupt-frame"),
        (lambda frame: b"no frame at all", "corrupt-frame"),
        (lambda frame: b"\xff" * 8 + frame[8:], "corrupt-frame"),
        (lambda frame: frame[:100] + b"?" + frame[101:], "corrupt-frame"),
        (lambda frame: frame[:8], "corrupt-frame"),
        (lambda frame: sound(key("another")), "corrupt-frame"),
    ],
)
def test_what_is_no_frame_of_that_key_is_not_stored(ask, tiers, sent, code):
    assert ask.put(key("a"), sent(sound(key("a")))).code == code
    assert tiers.entry(key("a")) is None


@pytest.mark.parametrize("checksum", ["0" * 32, "f" * 32])
def test_a_body_that_is_not_what_its_checksum_says_is_not_stored(ask, tiers, checksum):
    frame = sound(key("a"))
    assert ask.put(key("a"), frame, {"Kvstore-Xxh3": checksum}).code == "checksum-mismatch"
    flipped = bytearray(frame)
    flipped[-1] ^= 1
    assert ask.put(key("a"), flipped, {"Kvstore-Xxh3": xxhash.xxh3_128_hexdigest(frame)}).code == "checksum-mismatch"
    assert tiers.entry(key("a")) is None


@pytest.mark.parametrize("checksum", ["", "0" * 31, "0" * 33, "F" * 32, "no digits, but thirty-two of them"])
def test_a_checksum_must_be_one(ask, checksum):
    frame = sound(key("a"))
    assert ask.put(key("a"), frame, {"Kvstore-Xxh3": checksum}).code == "invalid-request"
    assert ask("PUT", f"/v1/frames/{key('a')}", frame).code == "invalid-request"


@pytest.mark.parametrize(
    "query",
    [
        {"ttl_s": -1},
        {"ttl_s": "nan"},
        {"ttl_s": "inf"},
        {"ttl_s": 10**11},
        {"parent": "a"},
        {"parent": "A" * 64},
        {"durable": "perhaps"},
        {"tenant": "x" * 1000},
    ],
)
def test_a_put_on_strange_terms_is_refused(ask, tiers, query):
    assert ask.put(key("a"), sound(key("a")), **query).code == "invalid-request"
    assert tiers.entry(key("a")) is None


def test_putting_a_key_again_replaces_its_frame(ask):
    ask.put(key("a"), sound(key("a")))
    assert ask.put(key("a"), sound(key("a"), 3000, seed=1)).status == 201
    assert ask.get(key("a")).body == sound(key("a"), 3000, seed=1)


def test_a_frame_whose_time_is_up_is_not_held(ask):
    assert ask.put(key("a"), sound(key("a")), ttl_s=0.3).status == 201
    assert ask.put(key("b"), sound(key("b")), ttl_s=0.3, durable=True).status == 201
    assert ask.held([key("a")]) == 1
    time.sleep(0.4)
    for this in (key("a"), key("b")):
        assert ask.get(this).code == "not-found"
        assert ask("HEAD", f"/v1/frames/{this}").status == 404
        assert ask.held([this]) == 0


RANGES = {
    "bytes=0-0": slice(0, 1),
    "bytes=0-": slice(0, None),
    "bytes=7-99": slice(7, 100),
    "bytes=100-100": slice(100, 101),
    "bytes=1-999999999999999": slice(1, None),
}


@pytest.mark.parametrize("asked", RANGES)
def test_some_bytes_are_the_frames_own(ask, asked):
    frame = sound(key("a"))
    ask.put(key("a"), frame)
    got, expected = ask.get(key("a"), {"Range": asked}), frame[RANGES[asked]]
    assert (got.status, got.body) == (206, expected)
    assert got.headers["content-length"] == str(len(expected))
    first = RANGES[asked].start
    assert got.headers["content-range"] == f"bytes {first}-{first + len(expected) - 1}/{len(frame)}"
    assert got.headers["kvstore-xxh3"] == xxhash.xxh3_128_hexdigest(expected)


STRANGE = [
    "bytes=5-4",
    "bytes=99999-",
    "bytes=",
    "bytes=-5",
    "bytes=0-1,3-4",
    "lines=0-1",
    "bytes=a-b",
    "0-1",
    "bytes=\xb2-3",
]


@pytest.mark.parametrize("asked", STRANGE)
def test_there_is_one_kind_of_range(ask, asked):
    ask.put(key("a"), sound(key("a")))
    assert ask.get(key("a"), {"Range": asked.encode("latin-1")}).code == "bad-range"


CODECS = {
    "lossless": lambda: (Lossless(), SPEC),
    "int8": lambda: (Int8(), SPEC),
    "transform": lambda: (Transform(profile_for(movable(SPEC))), movable(SPEC)),
}


@pytest.fixture(params=CODECS)
def coded(request, ask):
    """A key, its whole frame, which is held, and its spec."""
    codec, spec = CODECS[request.param]()
    frame, _ = whole(key("a"), codec, spec)
    assert ask.put(key("a"), frame).status == 201
    return key("a"), frame, spec


def decoded(frame, spec, num_layers):
    """The first layers' keys and values."""
    out = KVArray.empty(spec, TOKENS)
    next(there for there in decode_layers(Frame(frame), out) if there >= num_layers)
    return [tensor.clone() for tensor in (*out.keys[:num_layers], *out.values[:num_layers])]


@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize("end", [1, 2, 3])
def test_the_bytes_of_some_layers_are_the_frames_own_and_decode_them(ask, coded, first, end):
    this, frame, spec = coded
    if first >= end:
        assert ask.get(this, layers=f"{first}:{end}").code == "bad-range"
        return
    got, header = ask.get(this, layers=f"{first}:{end}"), read_header(frame)
    begins, ends = map(int, got.headers["kvstore-layers"].split(":"))
    assert (got.status, begins <= first, ends >= end) == (206, True, True)
    start, last = map(int, got.headers["content-range"].removeprefix("bytes ").split("/")[0].split("-"))
    assert got.body == frame[start : last + 1]
    assert got.headers["kvstore-xxh3"] == xxhash.xxh3_128_hexdigest(got.body)
    sections = {name: each for name, each in header.sections.items() if begins <= int(name.split(".")[0]) < ends}
    assert min(each.start for each in sections.values()) == start
    assert max(each.end for each in sections.values()) == last + 1
    before = min(each.start for each in header.sections.values())
    alone = frame[:before] + bytes(start - before) + got.body + bytes(len(frame) - last - 1)
    for name, section in sections.items():
        assert bytes(Frame(alone).section(name, section.dtype, section.shape)) == bytes(
            Frame(frame).section(name, section.dtype, section.shape)
        )
    if not begins:
        for here, there in zip(decoded(alone, spec, end), decoded(frame, spec, end), strict=True):
            assert here.equal(there)


@pytest.mark.parametrize("layers", ["0:4", "3:3", "2:1", "7:9", "99999:99999"])
def test_layers_that_a_frame_has_not_are_no_range(ask, layers):
    ask.put(key("a"), sound(key("a")))
    assert ask.get(key("a"), layers=layers).code == "bad-range"


@pytest.mark.parametrize(
    "layers", ["", ":", "0:", ":1", "a:b", "0:1x", "x0:1", "0:1:2", "-1:1", "0-1", "\u0660:\u0661", "0:1\n"]
)
def test_layers_are_two_numbers(ask, layers):
    ask.put(key("a"), sound(key("a")))
    assert ask.get(key("a"), layers=layers).code == "invalid-request"


def test_deleted_is_gone_from_every_tier(ask, tiers):
    keys, frames = sound_prompt("a", 2)
    for each, frame in zip(keys, frames, strict=True):
        ask.put(each, frame)
    assert ask("DELETE", f"/v1/frames/{keys[1]}").status == 204
    assert ask("DELETE", f"/v1/frames/{keys[1]}").code == "not-found"
    assert ask.get(keys[1]).code == "not-found"
    assert [tier.match(keys) for tier in tiers.tiers] == [1, 1]


def test_a_frame_that_cannot_be_deleted_is_not_said_to_be_gone(tmp_path):
    stubborn = FaultyTier(CAPACITY_BYTES, "delete", "quarantine")
    with Tiers([MemoryTier(CAPACITY_BYTES), stubborn]) as tiers, serving(tiers) as served:
        ask = Asking(served)
        ask.put(key("a"), sound(key("a")))
        assert ask("DELETE", f"/v1/frames/{key('a')}").code == "unavailable"
        assert ask.post("/v1/delete", keys=[str(key("a"))]).code == "unavailable"
        assert ask.post("/v1/quarantine", key=str(key("a")), reason="for a test").code == "unavailable"
        stubborn.refused.clear()
        assert ask("DELETE", f"/v1/frames/{key('a')}").status == 204


def test_a_durable_put_is_on_disk_when_it_is_acknowledged(tmp_path):
    keys, frames = sound_prompt("a", 3)
    pair = [MemoryTier(CAPACITY_BYTES), DiskTier(tmp_path, CAPACITY_BYTES)]
    with Tiers(pair, admission=SecondSight()) as tiers, serving(tiers) as served:
        ask = Asking(served)
        for index, each in enumerate(keys):
            before = {"parent": keys[index - 1]} if index else {}
            assert ask.put(each, frames[index], durable=True, **before).json == {"stored": 1, "durable": True}
            assert pair[1].match(keys) == index + 1
    with DiskTier(tmp_path, CAPACITY_BYTES) as again:
        assert [bytes(again.get(each)) for each in keys] == frames
        assert [again.entry(each).parent for each in keys] == [None, *keys[:2]]


def test_what_waits_to_be_written_is_written_when_the_service_ends(tmp_path):
    keys, frames = sound_prompt("a", 20, 100_000)
    with Tiers([MemoryTier(CAPACITY_BYTES), DiskTier(tmp_path, CAPACITY_BYTES)]) as tiers, serving(tiers) as served:
        for each, frame in zip(keys, frames, strict=True):
            assert Asking(served).put(each, frame).json == {"stored": 1, "durable": False}
    with DiskTier(tmp_path, CAPACITY_BYTES) as again:
        assert [bytes(again.get(each)) for each in keys] == frames


def test_memory_alone_promises_no_durability():
    with Tiers([MemoryTier(CAPACITY_BYTES)]) as tiers, serving(tiers) as served:
        ask = Asking(served)
        assert ask.put(key("a"), sound(key("a")), durable=True).code == "no-room"
        assert ask.put(key("a"), sound(key("a"))).json == {"stored": 1, "durable": False}


@pytest.mark.parametrize("durable", [False, True])
def test_what_does_not_fit_has_no_room(tmp_path, durable):
    pair = [MemoryTier(100_000), DiskTier(tmp_path, 100_000)]
    with Tiers(pair) as tiers, serving(tiers) as served:
        ask = Asking(served)
        assert ask.put(key("huge"), sound(key("huge"), 200_000), durable=durable).code == "no-room"
        keys, frames = sound_prompt("pinned", 3, 30_000)
        for each, frame in zip(keys, frames, strict=True):
            assert ask.put(each, frame, durable=durable).status == 201
        for each in keys:
            assert ask.post("/v1/pin", keys=[str(each)]).json == {"held": 1}
        assert ask.put(key("more"), sound(key("more"), 30_000), durable=durable).code == "no-room"
        assert [ask.get(each).body for each in keys] == frames


@pytest.mark.parametrize("durable", [False, True])
def test_a_tenant_has_no_more_than_its_quota(tmp_path, durable):
    quotas = {"small": 5000}
    pair = [MemoryTier(CAPACITY_BYTES, quotas=quotas), DiskTier(tmp_path, CAPACITY_BYTES, quotas=quotas)]
    with Tiers(pair) as tiers, serving(tiers) as served:
        ask = Asking(served)
        assert ask.put(key("a"), sound(key("a"), 6000), tenant="small", durable=durable).code == "no-room"
        assert ask.put(key("a"), sound(key("a"), 6000), tenant="large", durable=durable).status == 201
        for name in ("b", "c", "d"):
            assert ask.put(key(name), sound(key(name), 3000), tenant="small", durable=durable).status == 201
        assert served.context.service.behind.flush(PATIENCE_S)
        for tier in pair:
            assert sum(entry.size_bytes for entry in tier.entries() if entry.terms.tenant == "small") <= 5000
        assert ask.get(key("a")).status == 200


def test_a_disk_that_fills_up_is_an_error_and_what_was_acknowledged_stays(small_disk):  # noqa: F811
    ballast, acknowledged = small_disk / "ballast", []
    ballast.write_bytes(bytes(2 << 20))
    pair = [MemoryTier(CAPACITY_BYTES), DiskTier(small_disk / "store", CAPACITY_BYTES)]
    with Tiers(pair) as tiers, serving(tiers) as served:
        ask = Asking(served)
        for number in range(100):
            this = key(f"filler {number}")
            answer = ask.put(this, sound(this, 100_000), durable=True)
            if answer.status != 201:
                break
            acknowledged.append(this)
        assert answer.code == "no-room"
        assert len(acknowledged) > 2
        assert ask.put(acknowledged[0], sound(acknowledged[0], 100_000, seed=1), durable=True).code == "no-room"
        assert ask.put(key("not durably"), sound(key("not durably"))).json == {"stored": 1, "durable": False}
        assert ask.held(acknowledged) == len(acknowledged)
        ballast.unlink()
        time.sleep(1.3)  # puts failed: the breaker has none tried for a while
        assert ask.put(key("again"), sound(key("again"), 100_000), durable=True).status == 201
    with DiskTier(small_disk / "store", CAPACITY_BYTES) as disk:
        for this in (*acknowledged[1:], key("again")):
            assert bytes(disk.get(this)) == sound(this, 100_000)
        assert bytes(disk.get(acknowledged[0])) == sound(acknowledged[0], 100_000)


def test_a_tier_that_is_unavailable_is_skipped(tmp_path):
    failing = FaultyTier(CAPACITY_BYTES, "put", "get", "match", "entry")
    with Tiers([failing, MemoryTier(CAPACITY_BYTES)]) as tiers, serving(tiers) as served:
        ask = Asking(served)
        assert ask.put(key("a"), sound(key("a"))).status == 201
        assert ask.get(key("a")).body == sound(key("a"))


def test_a_frame_damaged_on_disk_is_a_miss_and_out_of_service(tmp_path):
    with Tiers([DiskTier(tmp_path, CAPACITY_BYTES)]) as tiers, serving(tiers) as served:
        ask = Asking(served)
        ask.put(key("a"), sound(key("a"), 50_000), durable=True)
        place = tiers.in_file(key("a"))
        with place.path.open("r+b") as file:
            file.seek(place.offset + 20_000)
            byte = file.read(1)[0]
            file.seek(place.offset + 20_000)
            file.write(bytes([byte ^ 1]))
            os.fsync(file.fileno())
        assert ask.get(key("a")).code == "not-found"
        assert ask.held([key("a")]) == 0


def test_a_tier_that_raises_while_it_reads_is_a_miss(ask, tiers, monkeypatch):
    ask.put(key("a"), sound(key("a")))

    def get(this):
        raise TierUnavailable("for a test")

    for tier in tiers.tiers:
        monkeypatch.setattr(tier, "get", get)
    assert ask.get(key("a")).code in ("not-found", "unavailable")


def test_no_path_is_built_of_what_is_asked(served, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("nobody's business")
    before = sorted(path for path in tmp_path.rglob("*"))
    climbs = ["..", "%2e%2e", "%2e%2e%2f", "..%2f", "..%5c", "....//", "%252e%252e%252f", "%c0%ae%c0%ae%2f"]
    for climb in climbs:
        for path in (f"/v1/frames/{climb}/secret", f"/page/{climb}secret", f"/{climb}/{secret}", f"//{climb}{secret}"):
            for method in ("GET", "PUT", "DELETE"):
                with wire(served) as line:
                    line.send(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
                    answer = line.answer()
                assert answer.status in (404, 405, 422)
                assert b"business" not in answer.body
    assert sorted(path for path in tmp_path.rglob("*")) == before
