"""Whatever is not done is answered as a problem, with a code that does not change."""

from http import HTTPStatus

import pytest

from codec import CorruptFrame, MissingProfile, SpecMismatch
from connectors.sidecar.problems import CODES, of_error, responses
from kvstore import InvalidRequest, TierUnavailable
from kvstore.testing import key
from tests.connectors.sidecar.asking import wire

ERRORS = {
    CorruptFrame("damaged"): "corrupt-frame",
    InvalidRequest("a caller's bug"): "invalid-request",
    TierUnavailable("gone"): "unavailable",
    SpecMismatch("another model's"): "invalid-request",
    MissingProfile("what to calibrate"): "invalid-request",
}


def test_codes_stay_as_they_are():
    """A code may come, but none may go or change its status: clients go by them."""
    known = {
        "malformed": 400,
        "unauthorized": 401,
        "forbidden": 403,
        "not-found": 404,
        "method-not-allowed": 405,
        "timeout": 408,
        "length-required": 411,
        "too-large": 413,
        "bad-range": 416,
        "invalid-request": 422,
        "checksum-mismatch": 422,
        "corrupt-frame": 422,
        "too-many-requests": 429,
        "head-too-large": 431,
        "internal": 500,
        "unavailable": 503,
        "busy": 503,
        "draining": 503,
        "no-room": 507,
    }
    assert {code: status for code, (status, _) in CODES.items() if code in known} == known
    assert all(HTTPStatus(status) and meaning for status, meaning in CODES.values())


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_the_store_raises_has_a_code(ask, served, monkeypatch, error):
    def raising(*arguments):
        raise error

    assert of_error(error).code == ERRORS[error]
    monkeypatch.setattr(served.context.service, "entry", raising)
    answer = ask("GET", f"/v1/entries/{key('a')}")
    assert answer.code == ERRORS[error]
    assert answer.json["detail"] == str(error)


def test_what_nobody_expected_is_an_answer_that_gives_nothing_away(ask, served, monkeypatch, caplog):
    def raising(*arguments):
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr(served.context.service, "match", raising)
    answer = ask.post("/v1/match", keys=[])
    assert answer.code == "internal"
    assert b"secret" not in answer.body
    assert "the secret of the house" in caplog.text
    assert ask("GET", "/healthz").status == 200


PATHS = [
    "/nothing",
    "/v1",
    "/v1/",
    "/v1/frames",
    "/v1/frames/",
    "/v2/match",
    "//",
    "//v1/match",
    "/v1//match",
    "/%00",
    "/v1/frames/a/b",
    "/page/../connectors/sidecar/app.py",
    "/page/%2e%2e%2fapp.py",
    "/docs",
    "/redoc",
]


@pytest.mark.parametrize("path", PATHS)
def test_there_is_nothing_at_other_addresses(ask, path):
    assert ask("GET", path).code == "not-found"


def test_an_address_with_a_slash_more_is_another_one(ask):
    """A redirect would go where the caller's Host header says."""
    for path in ("/v1/match/", f"/v1/frames/{key('a')}/", "/healthz/"):
        assert ask("POST", path, headers={"Host": "localhost"}).code == "not-found"


METHODS = {
    f"/v1/frames/{key('a')}": "DELETE, GET, HEAD, PUT",
    "/v1/match": "POST",
    "/healthz": "GET",
    "/v1/leases/abcdefghijklmnop": "DELETE, PUT",
}


@pytest.mark.parametrize("path", METHODS)
@pytest.mark.parametrize("method", ["PATCH", "OPTIONS", "TRACE", "PROPFIND", "LOCK"])
def test_methods_that_an_address_does_not_take_are_refused_with_those_it_does(ask, path, method):
    answer = ask(method, path)
    assert answer.code == "method-not-allowed"
    assert answer.headers["allow"] == METHODS[path]


def test_a_problem_of_validation_says_where(ask):
    answer = ask.post("/v1/match", keys=["no key"], lease_s=-1, more=1)
    assert answer.code == "invalid-request"
    assert {each["at"] for each in answer.json["errors"]} == {"body.keys.0", "body.lease_s", "body.more"}


@pytest.mark.parametrize("query", ["touch=true&touch=false", "layers=0:1&layers=0:1", "durble=true", "=", "Touch=true"])
def test_what_is_not_known_or_said_twice_is_refused(ask, query):
    assert ask("GET", f"/v1/frames/{key('a')}?{query}").code == "invalid-request"


BODIES = {
    "nothing": b"",
    "no JSON": b"{",
    "no object": b"[]",
    "null": b"null",
    "no UTF-8": b'{"keys": ["\xff"]}',
    "half a surrogate": b'{"keys": ["\\ud800"]}',
    "a number beyond numbers": b'{"keys": [], "lease_s": 1e999}',
    "not a number": b'{"keys": [], "lease_s": NaN}',
    "a number of many digits": b'{"keys": [], "lease_s": ' + b"9" * 100_000 + b"}",
    "deep": b"[" * 100_000,
    "deep and closed": b"[" * 100_000 + b"]" * 100_000,
    "a key with capitals": b'{"keys": ["' + b"A" * 64 + b'"]}',
    "a key and a line's end": b'{"keys": ["' + b"a" * 64 + b'\\n"]}',
    "digits of another script": b'{"keys": ["' + "\u0661".encode() * 64 + b'"]}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_json_that_makes_no_sense_is_refused(ask, body):
    assert ask("POST", "/v1/match", body, {"Content-Type": "application/json"}).code == "invalid-request"


KEYS = ["a", "A" * 64, "a" * 63, "a" * 65, "..", "%2e%2e%2f" * 3, "%00" * 64, "g" * 64, "%ff" * 64, "\u0661" * 64]


@pytest.mark.parametrize("digits", [*KEYS[:-1], "%D9%A1" * 64])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_what_is_no_key_is_refused(ask, method, digits):
    answer = ask(method, f"/v1/frames/{digits}", b"" if method == "PUT" else None)
    assert answer.code in ("invalid-request", "not-found")
    assert answer.status in (404, 422)


def test_head_has_a_problems_status_and_no_body(served):
    with wire(served) as line:
        for path, status in ((f"/v1/frames/{key('a')}", 404), ("/v1/frames/a", 422), ("/v1/match", 405)):
            line.send(f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = line.answer("HEAD")
            assert (answer.status, answer.body) == (status, b"")
            assert answer.headers["content-type"] == "application/problem+json"


def test_problems_of_one_status_are_described_together():
    described = responses("busy", "draining", "not-found")
    assert set(described) == {503, 404}
    assert "`busy`" in described[503]["description"]
    assert "`draining`" in described[503]["description"]
