"""SidecarClient gives what the sidecar holds, checked; everything else is an error that says what to do."""

import asyncio
import json
import math
import time
from contextlib import ExitStack
from hashlib import sha256

import numpy as np
import pytest
import xxhash

from codec import Frame as CodedFrame
from codec import Lossless, encode_chunk
from connectors import frame_stream
from connectors.client import SidecarClient
from connectors.sidecar.callers import Tokens
from connectors.sidecar.service import require_frame
from connectors.sidecar_connection import TooLarge
from kvstore import CorruptFrame, DiskTier, InvalidRequest, MemoryTier, Terms, Tiers, TierUnavailable
from kvstore.testing import FRAME_BYTES, frame, frames, key, prompt
from tests.connectors.sidecar.lying import HANG, answer, lying
from tests.connectors.sidecar.serving import any_bytes, serving
from tests.kv import SPEC, kv_of_any_bits

KEYS = prompt("a", 4)
ADMIN, ONE, OTHER = "admin-token-of-the-test", "token-of-tenant-one", "token-of-tenant-other"


def asked(url, call, *arguments, token="", timeout_s=20.0, **named):
    """What the client's method of that name returns."""

    async def ask():
        async with SidecarClient(url, token, timeout_s) as client:
            return await getattr(client, call)(*arguments, **named)

    return asyncio.run(ask())


def read(url, keys, **options):
    """All that a batch brings."""

    async def ask():
        async with SidecarClient(url, **options) as client:
            return [(key, bytes(frame)) async for key, frame in client.read(keys)]

    return asyncio.run(ask())


@pytest.fixture
def serve(tmp_path):
    """Serves tiers, a small disk unless others are given, until the test ends."""
    with ExitStack() as opened:

        def serve(*tiers, check=any_bytes, **options):
            held = opened.enter_context(Tiers(tiers or [DiskTier(tmp_path / "disk", 1 << 20)]))
            return opened.enter_context(serving(held, check=check, **options))

        yield serve


@pytest.fixture(params=["tcp", "unix"])
def over(request):
    return request.param


def url_of(served, over):
    return served.url if over == "tcp" else f"unix:{served.socket}"


@pytest.fixture
def url(serve, over):
    return url_of(serve(), over)


def test_what_was_put_comes_back(url):
    whole = frame(KEYS[0], 300_000)
    assert asked(url, "get", KEYS[0]) is None
    assert asked(url, "put", KEYS[0], whole)
    assert asked(url, "get", KEYS[0]) == whole
    assert asked(url, "body", KEYS[0]) == whole
    assert asked(url, "get", KEYS[0]).readonly
    assert asked(url, "head", KEYS[0]) == 300_000
    assert asked(url, "head", KEYS[1]) is None


def test_a_frame_is_read_into_the_callers_buffer(url):
    whole, buffer = frame(KEYS[0], 200_000), np.zeros(300_000, np.uint8)
    asked(url, "put", KEYS[0], whole)
    got = asked(url, "get", KEYS[0], lambda num_bytes: buffer[:num_bytes].data)
    assert got == whole
    assert buffer[:200_000].tobytes() == whole


def test_any_kind_of_bytes_is_sent(url):
    whole = frame(KEYS[0], 5_000_000)
    for kind in (whole, bytearray(whole), memoryview(whole), memoryview(np.frombuffer(whole, np.uint16))):
        assert not asked(url, "put", KEYS[0], kind)  # it does not fit: the whole of it came, and was checked
    assert asked(url, "put", KEYS[0], memoryview(np.frombuffer(whole[:10_000], np.uint16)))
    assert asked(url, "get", KEYS[0]) == whole[:10_000]


def test_a_prompt_is_written_and_read_in_one_body(url):
    entries, terms = frames(KEYS, 100_000), Terms("", time.time() + 1000)
    assert asked(url, "write", entries[:1]) == 1
    assert asked(url, "write", entries[1:3], KEYS[0], terms) == 2
    assert asked(url, "match", KEYS).held == 3
    assert read(url, KEYS) == entries[:3]
    found = asked(url, "entry", KEYS[1])
    assert (found.parent, found.terms, found.size_bytes, found.hits) == (KEYS[0], terms, 100_000, 0)
    assert read(url, [KEYS[3], KEYS[0]]) == []


def test_the_first_bytes_come_without_the_rest(url):
    asked(url, "put", KEYS[0], frame(KEYS[0]))
    assert asked(url, "first_bytes", KEYS[0], 10) == frame(KEYS[0])[:10]
    assert asked(url, "first_bytes", KEYS[0], 0) == b""
    assert asked(url, "first_bytes", KEYS[0], 10**6) == frame(KEYS[0])
    assert asked(url, "first_bytes", KEYS[1], 10) is None


def test_layers_come_without_the_others(url):
    coded = encode_chunk(Lossless(), kv_of_any_bits(SPEC, 16), str(KEYS[0]), 0)
    asked(url, "put", KEYS[0], coded)
    layers = asked(url, "get_layers", KEYS[0], 1, 3)
    assert (layers.first, layers.end) == (1, 3)
    assert layers.sections == coded[layers.start : layers.start + len(layers.sections)]
    sections = CodedFrame(coded).header.sections
    assert layers.start == min(place.start for name, place in sections.items() if not name.startswith("0."))
    assert asked(url, "get_layers", KEYS[1], 0, 1) is None
    with pytest.raises(InvalidRequest, match="layers 0:3"):
        asked(url, "get_layers", KEYS[0], 2, 9)


def test_what_is_matched_can_be_leased(url):
    asked(url, "write", frames(KEYS[:2]))
    match = asked(url, "match", KEYS, 30.0)
    assert (match.held, match.runs) == (2, [("disk", 2)])
    assert asked(url, "renew", match.lease, 60.0)
    assert asked(url, "release", match.lease)
    assert not asked(url, "release", match.lease)
    assert not asked(url, "renew", match.lease, 60.0)
    assert asked(url, "match", KEYS).lease is None


def test_what_becomes_of_frames_can_be_said(url):
    asked(url, "write", frames(KEYS))
    assert asked(url, "pin", KEYS) == 4
    asked(url, "touch", KEYS[:1])
    found = [asked(url, "entry", each) for each in KEYS[:2]]
    assert [(entry.pinned, entry.hits) for entry in found] == [(True, 1), (True, 0)]
    assert asked(url, "pin", KEYS, False) == 4
    assert asked(url, "prefetch", KEYS) == 0  # there is but one tier
    assert asked(url, "quarantine", KEYS[3], "a test says so")
    assert not asked(url, "quarantine", KEYS[3], "again")
    assert asked(url, "rejection", KEYS[3]) == "a test says so"
    assert asked(url, "rejection", KEYS[2]) is None
    assert asked(url, "delete", KEYS[2])
    assert not asked(url, "delete", KEYS[2])
    assert asked(url, "delete_with_all_behind", prefix=str(KEYS[0]), dry_run=True).chunks == 2
    assert {entry.key for entry in asked(url, "entries")} == set(KEYS[:2])
    assert [entry.key for entry in asked(url, "entries", KEYS[::-1])] == [KEYS[1], KEYS[0]]
    assert asked(url, "delete_with_all_behind", keys=[str(KEYS[0])]).chunks == 2
    assert asked(url, "entries") == []


def test_profiles_are_kept_by_their_content(url):
    content = b"a profile" * 100_000
    fingerprint = sha256(content).hexdigest()
    with pytest.raises(InvalidRequest, match="SHA-256"):
        asked(url, "keep_profile", "0" * 64, content)
    assert asked(url, "profile", fingerprint) is None
    for _ in range(2):
        assert asked(url, "keep_profile", fingerprint, content)
    assert asked(url, "profile", fingerprint) == content
    assert asked(url, "profiles") == [fingerprint]


def test_no_tenant_adds_a_profile_that_others_would_find(serve):
    url, fingerprint = serve(tokens=Tokens(ADMIN, {"one": ONE})).url, sha256(b"a").hexdigest()
    assert not asked(url, "keep_profile", fingerprint, b"a", token=ONE)
    assert asked(url, "profiles", token=ONE) == []
    assert asked(url, "keep_profile", fingerprint, b"a", token=ADMIN)
    assert asked(url, "profiles", token=ONE) == [fingerprint]
    assert asked(url, "profile", fingerprint, token=ONE) == b"a"


def test_a_damaged_profile_is_as_if_it_were_not_there(serve, tmp_path):
    url, content = serve().url, b"a profile"
    fingerprint = sha256(content).hexdigest()
    asked(url, "keep_profile", fingerprint, content)
    (tmp_path / f"disk/profiles/{fingerprint}.safetensors").write_bytes(b"a profilE")
    assert asked(url, "profile", fingerprint) is None


def test_tiers_that_keep_no_profiles_decline_them(serve):
    assert not asked(serve(MemoryTier(1000)).url, "keep_profile", sha256(b"a").hexdigest(), b"a")


def test_any_other_route_is_asked_as_json(url):
    assert asked(url, "json", "GET", "/healthz") == {"status": "alive"}
    assert asked(url, "json", "POST", "/v1/touch", {"keys": []}) is None
    with pytest.raises(InvalidRequest):
        asked(url, "json", "POST", "/v1/touch", {"keys": ["short"]})


def test_a_frame_in_memory_alone_comes_as_a_body_over_the_socket(serve):
    served = serve(MemoryTier(1 << 20))
    asked(f"unix:{served.socket}", "put", KEYS[0], frame(KEYS[0]))
    assert asked(f"unix:{served.socket}", "descriptors", KEYS).places == [None]
    assert asked(f"unix:{served.socket}", "get", KEYS[0]) == frame(KEYS[0])


def test_descriptors_are_for_this_host_alone(serve):
    with pytest.raises(InvalidRequest, match="Unix socket"):
        asked(serve().url, "descriptors", KEYS)


def test_a_file_that_is_gone_or_damaged_gives_no_wrong_bytes(serve, tmp_path):
    served = serve()
    url = f"unix:{served.socket}"
    asked(url, "write", frames(KEYS[:2]))
    first, second = asked(url, "descriptors", KEYS[:2]).places
    with first.path.open("r+b") as file:
        file.seek(first.offset + 5)
        file.write(b"\xff\x00\xff")
    assert asked(url, "get", KEYS[0]) is None
    assert asked(url, "get", KEYS[1]) == frame(KEYS[1])
    second.path.unlink()
    assert asked(url, "get", KEYS[1]) is None


# Whose frames they are.


@pytest.fixture
def of_two(serve, over):
    return url_of(serve(tokens=Tokens(ADMIN, {"one": ONE, "other": OTHER})), over)


def test_a_tenant_finds_its_own_frames_alone(of_two):
    assert asked(of_two, "put", KEYS[0], frame(KEYS[0]), token=ONE)
    for token, held in ((ONE, 1), (OTHER, 0), (ADMIN, 1)):
        assert asked(of_two, "match", KEYS, token=token).held == held
        assert (asked(of_two, "get", KEYS[0], token=token) is not None) == held
        assert (asked(of_two, "entry", KEYS[0], token=token) is not None) == held
        assert len(asked(of_two, "entries", token=token)) == held
        assert len(asked(of_two, "entries", KEYS, token=token)) == held
        assert len(read(of_two, KEYS, token=token)) == held
    assert not asked(of_two, "delete", KEYS[0], token=OTHER)
    assert not asked(of_two, "quarantine", KEYS[0], "because", token=OTHER)


def test_a_token_of_nobody_is_named(of_two):
    for token in ("", "a-token-that-nobody-has"):
        with pytest.raises(InvalidRequest, match=r"sidecar\.token"):
            asked(of_two, "match", KEYS, token=token)


def test_nobody_puts_for_another_tenant(of_two):
    with pytest.raises(InvalidRequest, match=r"another tenant's.*store\.tenant"):
        asked(of_two, "write", frames(KEYS), None, Terms("other"), token=ONE)
    assert asked(of_two, "write", frames(KEYS), None, Terms("other"), token=ADMIN) == 4
    assert asked(of_two, "match", KEYS, token=OTHER).held == 4


def test_why_a_frame_is_out_of_service_is_the_admins_to_know(of_two):
    asked(of_two, "put", KEYS[0], frame(KEYS[0]), token=ONE)
    asked(of_two, "quarantine", KEYS[0], "damaged", token=ONE)
    assert asked(of_two, "rejection", KEYS[0], token=ADMIN) == "damaged"
    assert asked(of_two, "rejection", KEYS[0], token=OTHER) is None


# What the service refuses.


def test_what_is_no_frame_is_not_taken(serve):
    served = serve(check=require_frame)
    for call in ("put", "write"):
        given = (KEYS[0], b"no frame") if call == "put" else ([(KEYS[0], b"no frame")],)
        with pytest.raises(CorruptFrame):
            asked(served.url, call, *given)


def test_a_body_that_is_too_long_is_not_taken(serve, over):
    url = url_of(serve(most_bytes=50_000), over)
    for size in (60_000, 20_000_000):
        with pytest.raises(TooLarge, match="max_frame_bytes"):
            asked(url, "put", KEYS[0], frame(KEYS[0], size))
    assert asked(url, "put", KEYS[0], frame(KEYS[0]))


def test_what_does_not_fit_is_declined(serve, over):
    url = url_of(serve(MemoryTier(2 * FRAME_BYTES)), over)
    assert asked(url, "write", frames(KEYS)) == 2
    assert not asked(url, "put", key("b"), frame(key("b"), 10 * FRAME_BYTES))


def test_too_many_requests_are_a_reason_to_come_later(serve):
    served = serve(requests_per_s=1)
    with pytest.raises(TierUnavailable, match="too-many-requests"):
        [asked(served.url, "match", KEYS) for _ in range(5)]


# A service that is not there, or is none.


def test_nobody_at_the_address_is_unavailable(tmp_path):
    for url in ("http://127.0.0.1:1", f"unix:{tmp_path}/nothing.sock", "http://name.invalid:80"):
        with pytest.raises(TierUnavailable, match=r"kvstore serve"):
            asked(url, "match", KEYS)


def test_a_service_that_ends_between_calls_is_unavailable_and_back_when_it_is(serve, tmp_path):
    async def ask():
        with Tiers([MemoryTier(1 << 20)]) as tiers:
            with serving(tiers, check=any_bytes) as served:
                client = SidecarClient(served.url)
                assert await client.put(KEYS[0], frame(KEYS[0]))
            with pytest.raises(TierUnavailable):
                await client.match(KEYS)
            await client.close()

    asyncio.run(ask())


GOOD = {"Kvstore_Xxh3": xxhash.xxh3_128_hexdigest(b"frame")}
PROBLEM = "application/problem+json"


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (answer(b"frame", Kvstore_Xxh3="0" * 32), CorruptFrame),
        (answer(b"frame"), CorruptFrame),
        (answer(b"framE", **GOOD), CorruptFrame),
        (answer(b"frame and more", length=5, **GOOD), TierUnavailable),
        (answer(b"frame", length=100, **GOOD), TierUnavailable),
        (answer(b"frame", length=10**15, **GOOD), CorruptFrame),
        (answer(b"frame", length=-5, **GOOD), TierUnavailable),
        (answer(b"frame", length="five", **GOOD), TierUnavailable),
        (answer(b"frame", Content_Encoding="gzip", **GOOD), None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nframe\r\n0\r\n\r\n", CorruptFrame),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nframe", CorruptFrame),
        (b"", TierUnavailable),
        (b"HTTP/1.1 200", TierUnavailable),
        (b"SSH-2.0-OpenSSH\r\n\r\n", TierUnavailable),
        (answer(b"not here", "404 Not Found", "text/html"), TierUnavailable),
        (answer(b"", "302 Found", Location="http://127.0.0.1:1/"), TierUnavailable),
        (answer(b"gateway", "502 Bad Gateway", "text/html"), TierUnavailable),
        (answer(b"no JSON", "404 Not Found", PROBLEM), TierUnavailable),
        (answer(b'{"code": 5}', "404 Not Found", PROBLEM), TierUnavailable),
        (answer(b'{"code": "draining", "detail": ""}', "503 Busy", PROBLEM), TierUnavailable),
        (answer(b'{"code": "of-tomorrow", "detail": ""}', "400 Bad", PROBLEM), TierUnavailable),
        (answer(b'{"code": "checksum-mismatch", "detail": ""}', "422 Bad", PROBLEM), CorruptFrame),
        (answer(b'{"code": "forbidden", "detail": "no"}', "403 No", PROBLEM), InvalidRequest),
    ],
)
def test_an_answer_is_not_believed(reply, error):
    with lying(reply) as url:
        if error is None:
            assert asked(url, "body", KEYS[0]) == b"frame"
        else:
            with pytest.raises(error):
                asked(url, "body", KEYS[0])


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"[]",
        b"no JSON",
        b'{"held": -1, "runs": [], "lease": null}',
        b'{"held": 5, "runs": [], "lease": null}',
        b'{"held": "many", "runs": [], "lease": null}',
    ],
)
def test_a_match_is_not_believed_that_cannot_be(said):
    with lying(answer(said, kind="application/json")) as url, pytest.raises(TierUnavailable):
        asked(url, "match", KEYS)


def test_a_list_is_not_believed_that_is_cut_or_of_something_else():
    line = {"key": str(KEYS[0]), "size_bytes": 5, "parent": None, "tenant": "", "pinned": False}
    line |= {"saved_at_s": 0.0, "used_at_s": 0.0, "expires_at_s": None, "hits": 0}
    with lying(answer(json.dumps(line).encode() + b"\n")) as url:
        (entry,) = asked(url, "entries")
        assert (entry.key, entry.terms.expires_at_s) == (KEYS[0], math.inf)
    for wrong in (json.dumps(line).encode(), b'{"key": 1}\n', json.dumps({**line, "key": "short"}).encode() + b"\n"):
        with lying(answer(wrong)) as url, pytest.raises(TierUnavailable):
            asked(url, "entries")


def test_a_batch_is_right_as_far_as_it_comes():
    records = [frame_stream.head_of(each, whole) + whole for each, whole in frames(KEYS)]

    async def before(url):
        """The keys that came, and what ended it."""
        came = []
        async with SidecarClient(url) as client:
            try:
                async for each, _ in client.read(KEYS):
                    came.append(each)
            except (CorruptFrame, TierUnavailable) as error:
                return came, type(error)
        return came, None

    damaged = records[1][:-1] + bytes([records[1][-1] ^ 1])
    for body, num_right, error in (
        (b"".join(records), 4, None),
        (records[0] + damaged + records[2], 1, CorruptFrame),
        (records[0] + records[2], 1, CorruptFrame),
        (records[0] + records[1][:-100], 1, CorruptFrame),
        (b"".join(records) + records[0], 4, CorruptFrame),
    ):
        with lying(answer(body)) as url:
            assert asyncio.run(before(url)) == (KEYS[:num_right], error)
    with lying(answer(records[0], length=10**6)) as url:
        assert asyncio.run(before(url)) == (KEYS[:1], TierUnavailable)


@pytest.mark.parametrize("reply", [b"", answer(b"frame", length=100, **GOOD)])
def test_a_service_that_hangs_is_unavailable_in_time(reply):
    with lying(reply, HANG) as url:
        started_s = time.monotonic()
        for call, given in (("body", KEYS[:1]), ("match", [KEYS]), ("entries", [])):
            with pytest.raises(TierUnavailable):
                asked(url, call, *given, timeout_s=0.3)
        assert time.monotonic() - started_s < 5


def test_many_calls_at_once_get_their_own_answers(url):
    entries = frames(prompt("many", 40), 20_000)

    async def ask():
        async with SidecarClient(url, timeout_s=30.0) as client:
            assert all(await asyncio.gather(*(client.put(*entry) for entry in entries)))
            return await asyncio.gather(*(client.get(each) for each, _ in entries * 3))

    assert asyncio.run(ask()) == [each for _, each in entries] * 3
