"""Those who are slow, go away, or do not take what they asked for: nobody waits for them, and nothing is kept."""

import socket
import time

from connectors.sidecar import protocol
from kvstore.testing import key
from tests.connectors.sidecar.asking import (
    PATIENCE_S,
    Asking,
    assert_serves,
    connected,
    get_head,
    put_head,
    wait_until,
    wire,
)
from tests.connectors.sidecar.serving import serving
from tests.connectors.sidecar.sound import sound

THIS = key("a")
ALIVE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_a_head_that_is_slow_ends(served, monkeypatch):
    monkeypatch.setattr(protocol, "_HEAD_S", 0.3)
    with wire(served) as silent, wire(served) as slow, wire(served) as second:
        second.send(ALIVE)
        assert second.answer().status == 200
        second.send("GET /he")
        slow.send("GET /healthz HTTP/1.1\r\n")
        assert slow.send_until_closed(b"X", pause_s=0.05) < 100
        assert silent.is_closed()
        assert second.is_closed()


def test_a_body_that_is_slow_ends(tiers):
    with serving(tiers, body_s=0.3) as served:
        for size in (1000, 200_000):
            with wire(served) as line:
                line.send(put_head(THIS, bytes(size)), bytes(100))
                assert line.answer().code == "timeout"
        with wire(served) as line:
            line.send("POST /v1/match HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
            line.send("Content-Length: 1000\r\n\r\n", b'{"keys": [')
            assert line.answer().code == "timeout"
        assert_serves(served)
        assert served.context.bodies._bytes == 0


def test_a_body_that_is_late_for_a_lost_cause_ends_the_connection(served, monkeypatch):
    monkeypatch.setattr(protocol, "_REST_S", 0.2)
    with wire(served) as line:
        line.send(put_head(THIS, bytes(1000), checksum="no checksum"), bytes(10))
        assert line.answer().code == "invalid-request"
        assert line.is_closed()


def test_chunks_that_never_end_are_not_collected(served, monkeypatch):
    monkeypatch.setattr(protocol, "_REST_S", 0.2)
    with wire(served) as line:
        line.send(f"PUT /v1/frames/{THIS} HTTP/1.1\r\nHost: localhost\r\nKvstore-Xxh3: {'0' * 32}\r\n")
        line.send("Transfer-Encoding: chunked\r\n\r\n")
        assert line.answer().code == "length-required"
        line.send_until_closed(b"1000\r\n" + bytes(0x1000) + b"\r\n")


def test_an_answer_that_nobody_takes_ends(served, monkeypatch):
    monkeypatch.setattr(protocol, "_TAKEN_S", 0.2)
    assert Asking(served).put(THIS, sound(THIS, 32 << 20)).status == 201
    connection = socket.socket()
    with connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE_S)
        connection.connect(("127.0.0.1", int(served.url.rsplit(":", 1)[1])))
        connection.sendall(get_head(THIS).encode())
        wait_until(lambda: not served.server.server_state.connections)
    assert_serves(served)


def test_an_answer_that_is_taken_slowly_but_steadily_comes_whole(served, monkeypatch):
    monkeypatch.setattr(protocol, "_TAKEN_S", 0.3)
    frame = sound(THIS, 16 << 20)
    Asking(served).put(THIS, frame)
    with wire(served) as line:
        line.send(get_head(THIS, "Connection: close"))
        came = bytearray()
        while piece := line.socket.recv(1 << 20):
            came += piece
            time.sleep(0.02)
    assert bytes(came).endswith(frame)


def test_who_closes_its_half_is_answered(served):
    for size in (500, 200_000):
        frame = sound(THIS, size)
        with wire(served) as line:
            line.send(put_head(THIS, frame), frame)
            line.socket.shutdown(socket.SHUT_WR)
            assert line.answer().status == 201
            assert line.is_closed()
        with wire(served) as line:
            line.send(get_head(THIS) * 3)
            line.socket.shutdown(socket.SHUT_WR)
            assert [line.answer().body for _ in range(3)] == [frame] * 3
            assert line.is_closed()


def test_who_goes_away_leaves_nothing_behind(served, tiers):
    """Clients that are cut off, politely or not, wherever they are in a request."""
    frame = sound(THIS, 300_000)
    request = put_head(THIS, frame).encode() + frame
    for end in (0, 10, 100, len(request) - len(frame), 1000, 100_000, len(request) - 1):
        for abruptly in (False, True):
            with connected(served) as connection:
                if abruptly:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.sendall(request[:end])
    wait_until(lambda: not served.server.server_state.connections and not served.server.server_state.tasks)
    assert tiers.entry(THIS) is None
    assert served.context.bodies._bytes == 0
