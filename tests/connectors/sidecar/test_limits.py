"""Limits: so many requests of each caller, so long a body, so many of them at once."""

import http.client
from contextlib import suppress

import pytest

from connectors.sidecar import limits
from connectors.sidecar.callers import Tokens
from connectors.sidecar.limits import Bodies, Rates
from connectors.sidecar.problems import Problem
from kvstore.testing import key
from tests.clock import Clock
from tests.connectors.sidecar.asking import Asking, put_head, wait_until, wire
from tests.connectors.sidecar.conftest import OURS, THEIRS
from tests.connectors.sidecar.serving import serving
from tests.connectors.sidecar.sound import sound


def spent(rates, caller, times):
    """How many of so many requests were allowed."""
    allowed = 0
    for _ in range(times):
        with suppress(Problem):
            rates.spend(caller)
            allowed += 1
    return allowed


def test_a_caller_makes_so_many_requests_a_second_and_twice_as_many_at_once():
    clock = Clock()
    rates = Rates(5, clock)
    assert spent(rates, "ours", 30) == 10
    clock.now_s += 1
    assert spent(rates, "ours", 30) == 5
    clock.now_s += 100
    assert spent(rates, "ours", 30) == 10


def test_what_one_caller_spends_is_not_the_others():
    rates = Rates(5, Clock())
    assert spent(rates, "ours", 30) == 10
    assert spent(rates, "theirs", 30) == 10


def test_asking_all_the_time_is_no_reason_to_wait_longer():
    clock = Clock()
    rates = Rates(5, clock)
    spent(rates, "ours", 10)
    allowed = 0
    for _ in range(100):
        clock.now_s += 0.1
        allowed += spent(rates, "ours", 1)
    assert 49 <= allowed <= 50


def test_no_limit_is_no_limit():
    rates = Rates(0, Clock())
    assert spent(rates, "ours", 1000) == 1000
    assert not rates._left


def test_callers_that_are_many_take_bounded_room(monkeypatch):
    monkeypatch.setattr(limits, "_MOST_CALLERS", 10)
    rates = Rates(1, Clock())
    for number in range(1000):
        rates.spend(f"unknown:{number}")
    assert len(rates._left) == 10


def test_room_for_bodies_comes_back_however_they_end():
    bodies = Bodies(10, 20)
    with bodies.room(10), bodies.room(10):
        with pytest.raises(Problem) as full, bodies.room(1):
            pass
        assert full.value.code == "busy"
    with pytest.raises(RuntimeError), bodies.room(10):
        raise RuntimeError("for a test")
    with bodies.room(10), bodies.room(10):
        pass


def test_one_body_has_its_limit():
    with pytest.raises(Problem) as refused, Bodies(10, 20).room(11):
        pass
    assert refused.value.code == "too-large"


def test_who_asks_too_often_is_told_when_to_come_back(tiers):
    with serving(tiers, tokens=Tokens("", {"ours": OURS, "theirs": THEIRS}), requests_per_s=0.5) as served:
        ours, theirs, stranger = Asking(served, OURS), Asking(served, THEIRS), Asking(served, "nobody's token at all")
        assert ours.held([]) == 0
        refused = ours.post("/v1/match", keys=[])
        assert refused.code == "too-many-requests"
        assert 1 <= int(refused.headers["retry-after"]) <= 2
        assert theirs.held([]) == 0
        assert stranger.post("/v1/match", keys=[]).code == "unauthorized"
        assert stranger.post("/v1/match", keys=[]).code == "too-many-requests"
        forwarded = {"X-Forwarded-For": "10.1.2.3", "X-Real-Ip": "10.1.2.3", "Forwarded": "for=10.1.2.3"}
        assert stranger("GET", "/v1/entries", headers=forwarded).code == "too-many-requests"
        assert stranger("GET", "/healthz").status == 200


@pytest.fixture
def small(tiers):
    """Takes frames of 3,000 bytes, and 4,000 bytes at once."""
    with serving(tiers, most_bytes=3000, all_bytes=4000) as served:
        yield served


def test_a_body_that_is_too_long_is_refused_before_it_is_read(small):
    for path, method in ((f"/v1/frames/{key('a')}", "PUT"), ("/v1/frames/write", "POST")):
        for claimed in (3001, 1 << 40, (1 << 64) - 1):
            with wire(small) as line:
                line.send(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {claimed}\r\n")
                line.send(f"Kvstore-Xxh3: {'0' * 32}\r\n\r\n")
                assert line.answer().code == "too-large"


def test_what_others_are_sending_counts(small):
    ask, frame = Asking(small), sound(key("b"), 1500)
    with wire(small) as first:
        first.send(put_head(key("a"), bytes(2900)), bytes(100))
        wait_until(lambda: ask.put(key("b"), frame).status != 201)  # the first is being received
        refused = ask.put(key("b"), frame)
        assert refused.code == "busy"
        assert refused.headers["retry-after"] == "1"
    wait_until(lambda: ask.put(key("b"), frame).status == 201)  # the first is seen to have gone


@pytest.mark.parametrize("path", ["/v1/match", "/v1/delete", "/v1/pin", "/v1/entries/read", "/v1/why-miss"])
@pytest.mark.parametrize("media_type", ["application/json", "application/octet-stream"])
def test_json_has_its_own_limit(served, path, media_type):
    with wire(served) as line:
        line.send(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\n")
        line.send(f"Content-Length: {100 << 20}\r\n\r\n", b'{"keys": [')
        assert line.answer().code == "too-large"


def test_as_many_keys_as_are_allowed_fit(ask):
    assert ask.held([key("a")] * (1 << 14)) == 0
    assert ask.post("/v1/match", keys=[str(key("a"))] * ((1 << 14) + 1)).code == "invalid-request"


def test_a_body_that_is_not_wanted_may_still_be_sent_whole(small):
    connection = http.client.HTTPConnection("localhost", timeout=30)
    with wire(small) as line:
        connection.sock = line.socket
        for _ in range(2):
            connection.request("PUT", f"/v1/frames/{key('a')}", bytes(300_000), {"Kvstore-Xxh3": "0" * 32})
            response = connection.getresponse()
            assert (response.status, response.read()[:1]) == (413, b"{")
