"""What a server meets: no HTTP, too much of it, and those who lie about what they send."""

import http.client
import random
import socket
import threading
import time

import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvstore.testing import key
from tests.connectors.sidecar.asking import Asking, assert_serves, get_head, put_head, wait_until, wire
from tests.connectors.sidecar.sound import sound

THIS = key("a")
ALIVE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def held(ask):
    """A frame of the key THIS."""
    frame = sound(THIS)
    assert ask.put(THIS, frame).status == 201
    return frame


NO_HTTP = {
    "noise": bytes(range(256)),
    "zeros": bytes(1000),
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "no version": b"GET /healthz\r\n\r\n",
    "another version": b"GET /healthz HTTP/9.9\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a method that is none": b"get /healthz HTTP/1.1\r\n\r\n",
    "no method": b" /healthz HTTP/1.1\r\n\r\n",
    "no address": b"GET  HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a NUL in the address": b"GET /heal\0thz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "8 bits in the address": b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no address but a host": b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a header without a name": b"GET / HTTP/1.1\r\n: value\r\n\r\n",
    "a header without a value": b"GET / HTTP/1.1\r\nname\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n\tb\r\n\r\n",
    "a NUL in a header": b"GET / HTTP/1.1\r\nHost: local\0host\r\n\r\n",
    "a length that is no number": b"PUT / HTTP/1.1\r\nContent-Length: ten\r\n\r\n",
    "a negative length": b"PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "a length with a sign": b"PUT / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
    "a length beyond numbers": b"PUT / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    "two lengths": b"PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a length and chunks": b"PUT / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": b"GET /healthz HTTP/1.1\nHost: localhost\n\n",
}


@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP)
@pytest.mark.parametrize("over_socket", [False, True])
def test_what_is_no_request_is_refused_or_not_found(served, sent, over_socket):
    with wire(served, over_socket) as line:
        line.send(sent)
        answer = line.answer()
        if answer.status == 400:
            assert answer.code == "malformed"
            assert answer.headers["connection"] == "close"
            assert line.is_closed()
        else:
            assert answer.status == 200 or answer.code in ("not-found", "method-not-allowed")
    assert_serves(served)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), num_changes=st.integers(1, 6))
def test_a_damaged_request_never_ends_the_service(served, seed, num_changes):
    choose, frame = random.Random(seed), sound(THIS, 50)
    request = bytearray(put_head(THIS, frame).encode() + frame + ALIVE)
    for _ in range(num_changes):
        at = choose.randrange(len(request))
        match choose.randrange(3):
            case 0:
                request[at] = choose.randrange(256)
            case 1:
                del request[at : at + choose.randrange(1, 8)]
            case 2:
                request[at:at] = choose.randbytes(choose.randrange(1, 8))
    with wire(served) as line:
        line.send(bytes(request))
        line.socket.shutdown(socket.SHUT_WR)
        while (answer := line.answer()) is not None and answer.headers["connection"] != "close":
            assert answer.status < 500 or answer.code == "no-room"
    assert_serves(served)


def test_a_head_that_has_no_end_is_refused(served):
    floods = {
        "headers": b"".join(b"X-%d: %s\r\n" % (number, b"y" * 100) for number in range(5000)),
        "one name": b"X" * 500_000,
        "one value": b"X: " + b"y" * 500_000,
        "an address": b"",
        "empty lines": b"",
    }
    for kind, flood in floods.items():
        with wire(served) as line:
            sent = {"an address": b"GET /" + b"a" * 500_000, "empty lines": b"\r\n" * 250_000}
            begun = sent.get(kind, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + flood)
            try:
                line.send(begun)
                answer = line.answer()
            except (BrokenPipeError, ConnectionResetError):
                answer = None
            assert answer is None or answer.code in ("head-too-large", "malformed"), kind
    assert_serves(served)


def test_a_flood_of_headers_takes_no_memory(served):
    """A head that goes on and on ends after some 64 KiB, whatever is still sent."""
    with wire(served) as line:
        line.send("GET /healthz HTTP/1.1\r\n")
        assert line.send_until_closed(b"X: " + b"y" * 1000 + b"\r\n") < 16 << 20  # what was on its way meanwhile


def test_a_long_head_that_ends_is_answered(served):
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 30_000 + b"\r\n\r\n"
    with wire(served) as line:
        for _ in range(3):
            line.send(head)
            assert line.answer().status == 200


@pytest.mark.parametrize("size", [500, 70_000, 600_000, 20 << 20])
def test_requests_that_come_together_are_answered_in_turn(served, held, size):
    frame = sound(THIS, size)
    with wire(served) as line:
        sending = threading.Thread(
            target=line.send,
            args=[get_head(THIS), put_head(THIS, frame).encode() + frame + ALIVE * 50 + get_head(THIS).encode()],
        )
        sending.start()
        assert line.answer().body == held
        assert line.answer().status == 201
        assert [line.answer().json["status"] for _ in range(50)] == ["alive"] * 50
        assert line.answer().body == frame
        sending.join()


def test_what_follows_a_request_and_is_none_does_not_take_its_answer(served, held):
    with wire(served) as line:
        line.send(get_head(THIS).encode() + b"\0\0\0 no request at all\r\n\r\n")
        assert line.answer().body == held
        assert (answer := line.answer()) is None or answer.code == "malformed"
        assert line.is_closed()


def test_a_request_in_pieces_is_a_request(served, held):
    with wire(served) as line:
        for byte in get_head(THIS).encode():
            line.send(bytes([byte]))
        assert line.answer().body == held
        for piece in (put_head(THIS, held).encode(), held[:1], held[1:300], held[300:]):
            line.send(piece)
            time.sleep(0.01)
        assert line.answer().status == 201


def test_the_length_of_a_body_must_be_said(served):
    for path, method in ((f"/v1/frames/{THIS}", "PUT"), ("/v1/frames/write", "POST"), ("/v1/match", "POST")):
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nKvstore-Xxh3: {'0' * 32}\r\n"
        with wire(served) as line:
            line.send(f"{head}Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n")
            assert line.answer().code == "length-required"
    with wire(served) as line:
        line.send(put_head(THIS, b"", length=""))
        assert line.answer().code == "length-required"


@pytest.mark.parametrize("size", [500, 200_000, 20 << 20])
def test_who_waits_to_be_asked_for_the_body_is_asked(served, size):
    frame = sound(THIS, size)
    with wire(served) as line:
        line.send(put_head(THIS, frame, "Expect: 100-continue"))
        assert line.socket.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.send(frame)
        assert line.answer().json == {"stored": 1, "durable": False}
        line.send(put_head(THIS, frame, "Expect: 100-continue", length=1 << 40))
        assert line.answer().code == "too-large"
    assert Asking(served).get(THIS).body == frame


@pytest.mark.parametrize("size", [500, 200_000, 20 << 20])
def test_who_says_more_than_it_sends_stores_nothing(served, tiers, size):
    frame = sound(THIS, size)
    for sent in (frame[:-1], frame[: size // 2], b""):
        with wire(served) as line:
            line.send(put_head(THIS, frame), sent)
            line.socket.shutdown(socket.SHUT_WR)
            assert line.is_closed()
    wait_until(lambda: not served.server.server_state.tasks)
    assert tiers.entry(THIS) is None
    assert served.context.bodies._bytes == 0
    assert_serves(served)


@pytest.mark.parametrize("size", [500, 200_000])
def test_who_sends_more_than_it_says_stores_nothing(served, tiers, size):
    frame = sound(THIS, size)
    with wire(served) as line:
        line.send(put_head(THIS, frame, length=len(frame) - 10), frame)
        assert line.answer().code == "checksum-mismatch"
        assert (answer := line.answer()) is None or answer.code == "malformed"
    shorter = xxhash.xxh3_128_hexdigest(frame[:-10])
    with wire(served) as line:
        line.send(put_head(THIS, frame, length=len(frame) - 10, checksum=shorter), frame)
        assert line.answer().code == "corrupt-frame"
    assert tiers.entry(THIS) is None


def test_an_upgrade_is_declined(served):
    for protocol_name in ("websocket", "h2c"):
        with wire(served) as line:
            line.send(
                f"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: {protocol_name}\r\n"
            )
            line.send("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
            assert line.answer().status == 200
    assert_serves(served)


def test_http_1_0_is_answered_and_closed(served, held):
    with wire(served) as line:
        line.send(f"GET /v1/frames/{THIS} HTTP/1.0\r\n\r\n")
        assert line.answer().body == held
        assert line.is_closed()


def test_a_trailer_is_no_header(served):
    with wire(served) as line:
        line.send("POST /v1/match HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        line.send("0\r\nAuthorization: Bearer x\r\nX-Request-Id: x\r\n\r\n", ALIVE)
        assert line.answer().code == "length-required"
        assert line.answer().status == 200


def test_answers_name_no_server_and_no_version(ask):
    assert "server" not in ask("GET", "/healthz").headers
    assert "date" in ask("GET", "/healthz").headers


def test_an_answer_is_whole_or_its_connection_ends(served, tiers, monkeypatch):
    """Of a batch whose frames fail half-way no client takes what came for the whole."""
    keys = [key(f"batch {number}") for number in range(3)]
    for this in keys:
        Asking(served).put(this, sound(this))
    service, given_ = served.context.service, iter([True, False])

    def get(caller, this):
        if next(given_, False):
            return memoryview(sound(this))
        raise RuntimeError("for a test")

    monkeypatch.setattr(service, "get", get)
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError, AssertionError)):
        assert Asking(served).post("/v1/frames/read", keys=[str(this) for this in keys]).status != 200
