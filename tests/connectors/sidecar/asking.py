"""Asking a sidecar: requests as any client makes them, and bytes as no client should send them."""

import http.client
import json
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from urllib.parse import urlencode, urlsplit

import xxhash

PATIENCE_S = 30.0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """Of the problem that this is."""
        assert self.headers["content-type"] == "application/problem+json", self
        problem = self.json
        assert problem["status"] == self.status
        assert problem["type"] == f"urn:kvstore:problem:{problem['code']}"
        return problem["code"]


class Asking:
    """Asks one sidecar with one token, over the network or its Unix socket; a connection for every request."""

    def __init__(self, served, token=None, over_socket=False):
        self._served, self._token, self._over_socket = served, token, over_socket

    def __call__(self, method, path, body=None, headers=(), **query):
        asked = {name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items()}
        known = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        sent = {"X-Request-Id": "of-a-test", **known, **dict(headers)}
        connection = http.client.HTTPConnection("localhost", timeout=PATIENCE_S)
        connection.sock = connected(self._served, self._over_socket)
        try:
            connection.request(method, f"{path}?{urlencode(asked)}" if asked else path, body, sent)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def post(self, path, **fields):
        """Posts JSON."""
        return self("POST", path, json.dumps(fields), {"Content-Type": "application/json"})

    def get(self, key, headers=(), **query):
        return self("GET", f"/v1/frames/{key}", headers=headers, **query)

    def put(self, key, frame, headers=(), **query):
        checksum = {"Kvstore-Xxh3": xxhash.xxh3_128_hexdigest(frame)}
        return self("PUT", f"/v1/frames/{key}", bytes(frame), {**checksum, **dict(headers)}, **query)

    def held(self, keys):
        """How many of a prompt's leading chunks are."""
        return self.post("/v1/match", keys=[str(key) for key in keys]).json["held"]


def connected(served, over_socket=False):
    """A socket to it."""
    if not over_socket:
        port = urlsplit(served.url).port
        return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE_S)
    connection.connect(str(served.socket))
    return connection


@contextmanager
def wire(served, over_socket=False):
    """A connection on which anything can be sent."""
    with connected(served, over_socket) as connection, connection.makefile("rb") as file:
        yield Wire(connection, file)


class Wire:
    def __init__(self, connection, file):
        self.socket, self._file = connection, file

    def send(self, *pieces):
        for piece in pieces:
            self.socket.sendall(piece if isinstance(piece, bytes) else piece.encode())

    def answer(self, method="GET"):
        """The next one; None when the connection was closed instead."""
        try:
            response = http.client.HTTPResponse(_Reading(self._file), method=method)
            response.begin()
            return Answer(response.status, response.headers, response.read())
        except (http.client.RemoteDisconnected, ConnectionResetError):
            return None

    def send_until_closed(self, piece, pause_s=0.0):
        """Again and again; how many bytes went until the other end would have no more."""
        sent = 0
        try:
            while True:
                self.send(piece)
                sent += len(piece)
                time.sleep(pause_s)
        except (BrokenPipeError, ConnectionResetError):
            return sent

    def is_closed(self):
        """Waits until it is, or fails in time."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True


class _Reading:
    """What HTTPResponse takes for a socket."""

    def __init__(self, file):
        self._file = file

    def makefile(self, mode):
        return _Kept(self._file)


class _Kept:
    """A file that a response does not close behind it."""

    def __init__(self, file):
        self._file = file

    def __getattr__(self, name):
        return getattr(self._file, name)

    def close(self):
        return


def put_head(key, frame, *more, length=None, checksum=None):
    """The head of a request that puts a frame; `length` and `checksum` are what it claims, "" for nothing."""
    checksum = checksum or xxhash.xxh3_128_hexdigest(frame)
    lines = [f"PUT /v1/frames/{key} HTTP/1.1", "Host: localhost", f"Kvstore-Xxh3: {checksum}", *more]
    if length != "":
        lines.append(f"Content-Length: {len(frame) if length is None else length}")
    return "\r\n".join([*lines, "", ""])


def get_head(key, *more):
    """A request for a frame."""
    return "\r\n".join([f"GET /v1/frames/{key} HTTP/1.1", "Host: localhost", *more, "", ""])


def wait_until(condition):
    """Fails when it does not come true in time."""
    ends_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends_s
        time.sleep(0.01)


def assert_serves(served):
    """Whatever was sent before."""
    assert Asking(served)("GET", "/healthz").status == 200
