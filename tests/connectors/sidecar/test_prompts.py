"""A prompt's chunks together: matched, leased, read and written in one body, pinned, forgotten with all behind them."""

import asyncio
import time

import pytest
import xxhash

from connectors.frame_stream import MEDIA_TYPE, head_of, read_frames
from kvstore import DiskTier, MemoryTier, Tiers
from kvstore.leases import LONGEST_LEASE_S
from kvstore.testing import key, prompt
from tests.connectors.sidecar.asking import PATIENCE_S, Asking, wire
from tests.connectors.sidecar.conftest import CAPACITY_BYTES
from tests.connectors.sidecar.serving import serving
from tests.connectors.sidecar.sound import sound, sound_prompt


def digits(keys):
    return [str(each) for each in keys]


def stream(keys, frames):
    return b"".join(head_of(each, frame) + frame for each, frame in zip(keys, frames, strict=True))


def write(ask, keys, frames, **query):
    return ask("POST", "/v1/frames/write", stream(keys, frames), {"Content-Type": MEDIA_TYPE}, **query)


def read(body):
    async def whole():
        yield body

    async def frames():
        return [(each, bytes(frame)) async for each, frame in read_frames(whole(), len(body))]

    return asyncio.run(frames())


@pytest.fixture
def held(ask):
    """A prompt of four chunks and their frames."""
    keys, frames = sound_prompt("a", 4)
    assert write(ask, keys, frames).json == {"stored": 4, "durable": False}
    return keys, frames


def test_a_match_counts_leading_chunks_and_names_their_tiers(ask, held):
    keys, _ = held
    answer = ask.post("/v1/match", keys=digits([*keys, key("unknown"), *keys])).json
    assert answer == {"held": 4, "runs": [{"tier": "memory", "chunks": 4}], "lease": None}
    assert ask.post("/v1/match", keys=digits([key("unknown"), *keys])).json["held"] == 0
    assert ask.post("/v1/match", keys=[]).json == {"held": 0, "runs": [], "lease": None}


def test_a_match_changes_nothing(ask, tiers, held):
    keys, _ = held
    before = [tiers.entry(each) for each in keys]
    for _ in range(5):
        ask.held(keys)
    assert [tiers.entry(each) for each in keys] == before


def test_frames_written_together_come_back_together(ask, tiers, held):
    keys, frames = held
    answer = ask.post("/v1/frames/read", keys=digits(keys))
    assert (answer.status, answer.headers["content-type"]) == (200, MEDIA_TYPE)
    assert read(answer.body) == list(zip(keys, frames, strict=True))
    assert [tiers.entry(each).parent for each in keys] == [None, *keys[:3]]


def test_a_batch_ends_with_the_first_that_is_not_held(ask, held):
    keys, frames = held
    answer = ask.post("/v1/frames/read", keys=digits([*keys[:2], key("unknown"), *keys[2:]]))
    assert read(answer.body) == list(zip(keys[:2], frames[:2], strict=True))
    assert ask.post("/v1/frames/read", keys=digits([key("unknown")])).body == b""


def test_frames_are_written_behind_a_parent_and_on_terms(ask, tiers, held):
    keys, _ = held
    more, frames = sound_prompt("more", 2)
    assert write(ask, more, frames, parent=keys[3], tenant="ours", ttl_s=500).status == 201
    assert [tiers.entry(each).parent for each in more] == [keys[3], more[0]]
    assert {tiers.entry(each).terms.tenant for each in more} == {"ours"}
    assert all(400 < tiers.entry(each).terms.expires_at_s - time.time() < 501 for each in more)


def test_a_durable_batch_is_on_disk_when_it_is_acknowledged(ask, tiers):
    keys, frames = sound_prompt("durable", 3)
    assert write(ask, keys, frames, durable=True).json == {"stored": 3, "durable": True}
    assert tiers.tiers[1].match(keys) == 3


def test_a_batch_is_kept_as_far_as_it_fits(tmp_path):
    keys, frames = sound_prompt("long", 10, 30_000)
    with Tiers([MemoryTier(100_000), DiskTier(tmp_path, 100_000)]) as tiers, serving(tiers) as served:
        assert write(Asking(served), keys, frames).json == {"stored": 3, "durable": False}
        assert Asking(served).held(keys) == 3


DAMAGES = {
    "a flipped bit": lambda body: body[:-1] + bytes([body[-1] ^ 1]),
    "cut short": lambda body: body[:-1],
    "too long": lambda body: body + b"x",
    "a head alone": lambda body: body + body[:56],
    "a frame under another key": lambda body: key("another").digest + body[32:],
    "noise": lambda body: bytes(1000),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_of_a_damaged_batch_nothing_is_stored(ask, tiers, damage):
    keys, frames = sound_prompt("a", 3)
    assert ask("POST", "/v1/frames/write", DAMAGES[damage](stream(keys, frames))).code == "corrupt-frame"
    assert list(tiers.entries()) == []


def test_a_batch_of_nothing_makes_no_sense(ask):
    assert ask("POST", "/v1/frames/write", b"").code == "invalid-request"


@pytest.fixture
def tight(tmp_path):
    """Room for five frames of the size of `sound_prompt`'s with 10,000 bytes, on disk alone."""
    size = len(sound(key("any"), 10_000))
    with Tiers([DiskTier(tmp_path / "tight", 5 * size + size // 2)]) as tiers, serving(tiers) as served:
        yield served


def crowd(ask, num_frames):
    """Puts so many others, one after the other."""
    for number in range(num_frames):
        ask.put(key(f"other {number}"), sound(key(f"other {number}"), 10_000))


def test_leased_frames_stay_until_they_are_released(tight):
    ask, (keys, frames) = Asking(tight), sound_prompt("a", 3, 10_000)
    write(ask, keys, frames)
    answer = ask.post("/v1/match", keys=digits([*keys, key("unknown")]), lease_s=60).json
    assert (answer["held"], answer["lease"]["seconds"]) == (3, 60)
    crowd(ask, 8)
    assert read(ask.post("/v1/frames/read", keys=digits(keys)).body) == list(zip(keys, frames, strict=True))
    assert ask("DELETE", f"/v1/leases/{answer['lease']['id']}").status == 204
    assert ask("DELETE", f"/v1/leases/{answer['lease']['id']}").code == "not-found"
    crowd(ask, 8)
    assert ask.held(keys) == 0


def test_leased_frames_stay_until_their_time_is_over(tight):
    ask, (keys, frames) = Asking(tight), sound_prompt("a", 3, 10_000)
    write(ask, keys, frames)
    lease = ask.post("/v1/match", keys=digits(keys), lease_s=0.2).json["lease"]
    renewed = ask("PUT", f"/v1/leases/{lease['id']}", b'{"lease_s": 60}', {"Content-Type": "application/json"})
    assert renewed.json == {"id": lease["id"], "seconds": 60}
    time.sleep(0.3)
    crowd(ask, 8)
    assert ask.held(keys) == 3
    ask("PUT", f"/v1/leases/{lease['id']}", b'{"lease_s": 0.05}', {"Content-Type": "application/json"})
    time.sleep(0.1)
    crowd(ask, 8)
    assert ask.held(keys) == 0
    late = ask("PUT", f"/v1/leases/{lease['id']}", b'{"lease_s": 1}', {"Content-Type": "application/json"})
    assert late.code == "not-found"


def test_frames_leased_to_the_last_byte_leave_no_room(tight):
    ask, (keys, frames) = Asking(tight), sound_prompt("a", 5, 10_000)
    write(ask, keys, frames)
    ask.post("/v1/match", keys=digits(keys), lease_s=60)
    assert ask.put(key("more"), sound(key("more"), 10_000)).code == "no-room"
    assert ask.held(keys) == 5


@pytest.mark.parametrize("seconds", [-1, LONGEST_LEASE_S + 1, "long", None])
def test_a_lease_has_a_length(ask, held, seconds):
    assert ask.post("/v1/match", keys=digits(held[0]), lease_s=seconds).code == "invalid-request"


@pytest.mark.parametrize("name", ["x", "x" * 17, "../../../../etc/", "%00" * 16])
def test_what_is_no_lease_is_refused(ask, name):
    assert ask("DELETE", f"/v1/leases/{name}").status in (404, 422)


def test_places_are_for_who_is_on_this_host(served, tiers, held):
    keys, frames = held
    asked = {"keys": digits([*keys, key("unknown")]), "lease_s": 30}
    assert Asking(served).post("/v1/descriptors", **asked).code == "forbidden"
    assert served.context.service.behind.flush(PATIENCE_S)
    answer = Asking(served, over_socket=True).post("/v1/descriptors", **asked).json
    assert (answer["held"], len(answer["frames"])) == (4, 4)
    assert answer["lease"]["seconds"] == 30
    for each, frame, place in zip(keys, frames, answer["frames"], strict=True):
        with open(place["path"], "rb") as file:  # noqa: PTH123, as a client does
            file.seek(place["offset"])
            content = file.read(place["size_bytes"])
        assert (place["key"], content) == (str(each), frame)
        assert place["xxh3"] == xxhash.xxh3_128_hexdigest(content)


def test_what_lies_in_no_file_has_no_place():
    keys, frames = sound_prompt("a", 2)
    with Tiers([MemoryTier(CAPACITY_BYTES)]) as tiers, serving(tiers) as served:
        ask = Asking(served, over_socket=True)
        write(ask, keys, frames)
        answer = ask.post("/v1/descriptors", keys=digits(keys)).json
        assert (answer["held"], answer["frames"]) == (2, [None, None])


def test_touching_counts_a_use(ask, tiers, held):
    keys, _ = held
    assert ask.post("/v1/touch", keys=digits([*keys[:2], key("unknown")])).status == 204
    assert [tiers.entry(each).hits for each in keys] == [1, 1, 0, 0]


def test_pinned_frames_stay_until_they_are_not(tight):
    ask, (keys, frames) = Asking(tight), sound_prompt("a", 3, 10_000)
    write(ask, keys, frames)
    assert ask.post("/v1/pin", keys=digits([*keys, key("unknown")])).json == {"held": 3}
    assert ask("HEAD", f"/v1/frames/{keys[0]}").headers["kvstore-pinned"] == "true"
    crowd(ask, 8)
    assert ask.held(keys) == 3
    assert ask.post("/v1/pin", keys=digits(keys), pinned=False).json == {"held": 3}
    crowd(ask, 8)
    assert ask.held(keys) == 0


def test_prefetching_brings_frames_to_memory(tmp_path):
    keys, frames = sound_prompt("a", 3)
    with DiskTier(tmp_path, CAPACITY_BYTES) as disk:
        disk.put(list(zip(keys, frames, strict=True)))
    memory = MemoryTier(CAPACITY_BYTES)
    with Tiers([memory, DiskTier(tmp_path, CAPACITY_BYTES)]) as tiers, serving(tiers) as served:
        answer = Asking(served).post("/v1/prefetch", keys=digits([*keys, key("unknown")]))
        assert (answer.status, answer.json) == (202, {"accepted": 3})
        ends_s = time.monotonic() + PATIENCE_S
        while memory.match(keys) < 3:
            assert time.monotonic() < ends_s
            time.sleep(0.005)


def test_what_is_deleted_goes_with_all_behind_it(ask, tiers, held):
    keys, frames = held
    fork, fork_frames = sound_prompt("fork", 2)
    write(ask, fork, fork_frames, parent=keys[1])
    assert ask.post("/v1/delete", keys=digits(keys[2:3]), dry_run=True).json == {
        "chunks": 2,
        "size_bytes": len(frames[2]) + len(frames[3]),
        "deleted": False,
    }
    assert len(list(tiers.entries())) == 6
    assert ask.post("/v1/delete", keys=digits(keys[2:3])).json["chunks"] == 2
    assert (ask.held(keys), ask.held([*keys[:2], *fork])) == (2, 4)
    assert ask.post("/v1/delete", prefix=str(keys[1])).json["chunks"] == 3
    assert [entry.key for entry in tiers.entries()] == keys[:1]
    assert [tier.match(keys) for tier in tiers.tiers] == [1, 1]


def test_filters_must_all_fit(ask, tiers, held):
    keys, _ = held
    ours, our_frames = sound_prompt("ours", 2)
    write(ask, ours, our_frames, tenant="ours")
    assert ask.post("/v1/delete", tenant="ours", older_than_s=1000).json["chunks"] == 0
    assert ask.post("/v1/delete", tenant="theirs").json["chunks"] == 0
    assert ask.post("/v1/delete", unused_for_s=1000).json["chunks"] == 0
    assert ask.post("/v1/delete", tenant="ours", prefix=str(keys[0])).json["chunks"] == 0
    time.sleep(0.01)
    assert ask.post("/v1/delete", tenant="ours", older_than_s=0, unused_for_s=0).json["chunks"] == 2
    assert ask.held(keys) == 4
    assert ask.post("/v1/delete", everything=True).json["chunks"] == 4
    assert list(tiers.entries()) == []


def test_pinned_chunks_are_deleted_only_if_they_are_meant(ask, held):
    keys, _ = held
    ask.post("/v1/pin", keys=digits(keys[:2]))
    assert ask.post("/v1/delete", everything=True).json["chunks"] == 2
    assert ask.post("/v1/delete", keys=digits(keys)).json["chunks"] == 0
    assert ask.held(keys) == 2
    assert ask.post("/v1/delete", keys=digits(keys), pinned=True).json["chunks"] == 2
    assert ask.held(keys) == 0


def test_who_deletes_says_what(ask, held):
    keys, _ = held
    assert ask.post("/v1/delete").code == "invalid-request"
    assert ask.post("/v1/delete", dry_run=True, pinned=True).code == "invalid-request"
    assert ask.post("/v1/delete", keys=digits(keys), tenant="").code == "invalid-request"
    assert ask.post("/v1/delete", prefix=str(key("unknown"))).code == "not-found"
    assert ask.post("/v1/delete", keys=[]).json["chunks"] == 0
    assert ask.held(keys) == 4


def test_a_frame_that_a_reader_found_damaged_is_out_of_service(ask, tiers, held):
    keys, frames = held
    assert ask.post("/v1/quarantine", key=str(keys[2]), reason="a reader says so").status == 204
    assert ask.get(keys[2]).code == "not-found"
    assert ask.held(keys) == 2
    assert tiers.tiers[1].rejection(keys[2]) == "a reader says so"
    assert ask.post("/v1/quarantine", key=str(keys[2]), reason="again").code == "not-found"
    assert ask.put(keys[2], frames[2], parent=keys[1]).status == 201
    assert ask.held(keys) == 4


def test_reading_many_frames_takes_the_memory_of_few(served, tiers):
    """The same frame a thousand times, of which the client takes the first bytes and goes away."""
    this = key("a")
    Asking(served).put(this, sound(this, 1 << 20))
    body = b'{"keys": [' + b", ".join([b'"' + str(this).encode() + b'"'] * 1000) + b"]}"
    with wire(served) as line:
        line.send("POST /v1/frames/read HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        line.send(f"Content-Length: {len(body)}\r\n\r\n", body)
        assert line.socket.recv(100).startswith(b"HTTP/1.1 200")
    assert Asking(served).held(prompt("a", 1)) == 0
    ends_s = time.monotonic() + PATIENCE_S
    while served.server.server_state.tasks:
        assert time.monotonic() < ends_s, "the answer goes on though nobody takes it"
        time.sleep(0.01)
