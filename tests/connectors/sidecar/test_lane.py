"""The lane and the shortcut: answers that come sooner are the answers that would have come later."""

import time

import pytest
import xxhash

from kvstore.testing import key
from tests.connectors.sidecar.asking import Asking, wire
from tests.connectors.sidecar.sound import sound

MIB = 1 << 20
ALIVE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def get_of(this, *headers, query=""):
    lines = [f"GET /v1/frames/{this}{query} HTTP/1.1", "Host: localhost", *headers, "", ""]
    return "\r\n".join(lines)


@pytest.fixture
def held(ask):
    ask.put(key("a"), sound(key("a"), 3 * MIB))
    return key("a")


def test_the_same_is_answered_whichever_way_it_goes(served, held):
    with wire(served) as line:
        line.send(get_of(held, "X-Request-Id: mine"))
        sooner = line.answer()
        line.send(get_of(held, "X-Request-Id: mine", query="?touch=1"))
        later = line.answer()
    assert (sooner.status, sooner.body) == (later.status, later.body) == (200, sound(held, 3 * MIB))
    assert dict(sooner.headers) == {**dict(later.headers), "date": sooner.headers["date"]}
    assert sooner.headers["x-request-id"] == "mine"


def test_a_use_is_noted_unless_it_is_not_to_be(served, tiers, held, ask):
    for query, hits in (("", 1), ("?touch=false", 1), ("?touch=true", 2)):
        with wire(served) as line:
            line.send(get_of(held, query=query))
            assert line.answer().status == 200
        assert tiers.entry(held).hits == hits


def test_requests_that_come_together_are_answered_in_turn(served, held):
    with wire(served) as line:
        line.send(ALIVE, get_of(held), get_of(key("none")), get_of(held), ALIVE)
        assert [line.answer().status for _ in range(5)] == [200, 200, 404, 200, 200]


def test_who_reads_slowly_is_answered_whole(served, held):
    with wire(served) as line:
        line.send(*[get_of(held)] * 8)
        time.sleep(0.2)
        for _ in range(8):
            assert xxhash.xxh3_128_digest(line.answer().body) == xxhash.xxh3_128_digest(sound(held, 3 * MIB))


def test_a_connection_that_is_to_be_closed_is(served, held):
    with wire(served) as line:
        line.send(get_of(held, "Connection: close"))
        assert line.answer().status == 200
        assert line.is_closed()


def test_nobody_sees_sooner_what_is_not_theirs(parties, tiers):
    this = key("theirs")
    parties.theirs.put(this, sound(this))
    assert parties.theirs.get(this).status == 200
    assert parties.ours.get(this).code == "not-found"
    assert parties.nobody.get(this).code == "unauthorized"
    assert Asking(parties.served, "no such token").get(this).code == "unauthorized"


def test_what_was_answered_sooner_is_counted(served, held, ask):
    def counted():
        lines = ask("GET", "/metrics").body.decode().splitlines()
        start = 'kvstore_request_seconds_count{method="GET",route="/v1/frames/{key}",status="2xx"}'
        return next((float(line.split()[-1]) for line in lines if line.startswith(start)), 0.0)

    before = counted()
    assert ask.get(held).status == 200
    assert counted() == before + 1


@pytest.mark.parametrize("num_bytes", [40_000, MIB, 20 * MIB])
@pytest.mark.parametrize("piece_bytes", [1000, 100_000, 1 << 30])
def test_a_body_is_kept_however_it_comes(served, ask, num_bytes, piece_bytes):
    frame = sound(key("a"), num_bytes)
    head = f"PUT /v1/frames/{key('a')} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(frame)}\r\n"
    request = f"{head}Kvstore-Xxh3: {xxhash.xxh3_128_hexdigest(frame)}\r\n\r\n".encode() + frame
    if len(request) // piece_bytes > 2000:
        pytest.skip("too many pieces for a test")
    with wire(served) as line:
        for start in range(0, len(request), piece_bytes):
            line.send(request[start : start + piece_bytes])
        assert line.answer().status == 201
        line.send(get_of(key("a")))
        assert line.answer().body == frame
