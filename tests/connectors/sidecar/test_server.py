"""`kvstore serve` as a process: how it ends, what is there afterwards, and how the next one begins."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import ChainMap
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import xxhash

from kvstore import DiskReader
from tests.connectors.sidecar.plain_requests import ask, ask_over, put_over, whole_frames

_START_S, _END_S = 60.0, 60.0
_SERVE = "from connectors.cli.main import app; app()"


@pytest.fixture(scope="module")
def frames():
    """What each of four clients puts."""
    return [whole_frames(400, seed) for seed in range(4)]


@dataclass
class Process:
    """A sidecar that runs by itself."""

    process: subprocess.Popen
    url: str
    said: list[str]
    log: Path

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(_END_S)


@contextmanager
def running(directory, *arguments, **environment):
    """Until the `with` is left; where it still runs then, it is killed."""
    own = {
        "HOME": str(directory),
        "KVSTORE_STORE_PATH": str(directory / "store"),
        "KVSTORE_SIDECAR_SOCKET": str(directory / "sidecar.sock"),
        "KVSTORE_SIDECAR_PORT": "0",
        "KVSTORE_MEMORY_CAPACITY_BYTES": "64MiB",
        "KVSTORE_DISK_CAPACITY_BYTES": "256MiB",
        **environment,
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KVSTORE_", "OTEL_"))}
    log = directory / f"log-{time.monotonic_ns()}"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, "serve", *arguments],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**inherited, **own},
            cwd=Path(__file__).parents[3],
        )
    try:
        said = [process.stdout.readline() for _ in range(2)]
        assert all(said), log.read_text()
        yield Process(process, re.search(r"http://\S+", said[0])[0], said, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(_END_S)
        process.stdout.close()


@dataclass
class Acknowledged:
    """Keys of the frames put, by whether they were said to be durable."""

    durable: set = field(default_factory=set)
    others: set = field(default_factory=set)
    wrong: list = field(default_factory=list)


def load(url, frames, acknowledged):
    """Puts and gets, until the service is gone."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        for number, (key, frame) in enumerate(frames.items()):
            durable = number % 2 == 0
            said = put_over(connection, key, frame, f"?durable={durable}")
            if said.status == 201:
                (acknowledged.durable if durable else acknowledged.others).add(key)
            elif said.json["code"] != "draining":
                acknowledged.wrong.append(said)
            got = ask_over(connection, "GET", f"/v1/frames/{key}")
            right = got.body == frame if got.status == 200 else got.json["code"] in ("draining", "not-found")
            if not right:
                acknowledged.wrong.append(got)
    except (OSError, HTTPException):
        return  # it ended
    finally:
        connection.close()


def ended_under_load(served, frames, how, after=20):
    """Four clients at once; its exit code once it ended, after so many puts or more."""
    acknowledged = Acknowledged()
    clients = [threading.Thread(target=load, args=(served.url, own, acknowledged)) for own in frames]
    for client in clients:
        client.start()
    ends_s = time.monotonic() + _END_S
    while len(acknowledged.durable) < after or len(acknowledged.others) < after:
        assert time.monotonic() < ends_s
        time.sleep(0.005)
    code = served.end(how)
    for client in clients:
        client.join()
    assert not acknowledged.wrong
    return code, acknowledged


def on_disk(directory):
    with DiskReader(directory / "store") as reader:
        return {entry.key: bytes(reader.get(entry.key)) for entry in reader.entries()}


def connected_over(path):
    connection = HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.connect(str(path))
    return connection


def ask_over_socket(path, *request):
    connection = connected_over(path)
    try:
        return ask_over(connection, *request)
    finally:
        connection.close()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_what_was_acknowledged_is_on_disk_when_it_was_told_to_end(tmp_path, frames, how):
    with running(tmp_path) as served:
        code, acknowledged = ended_under_load(served, frames, how)
        assert code == 0, served.log.read_text()
    assert not (tmp_path / "sidecar.sock").exists()
    held, given = on_disk(tmp_path), ChainMap(*frames)
    for key in acknowledged.durable | acknowledged.others:
        assert held[key] == given[key]
    assert "Traceback" not in served.log.read_text()


def test_a_killed_one_loses_nothing_durable_and_the_next_takes_its_socket(tmp_path, frames):
    with running(tmp_path) as served:
        code, acknowledged = ended_under_load(served, frames, signal.SIGKILL)
        assert code == -signal.SIGKILL
    socket_path = tmp_path / "sidecar.sock"
    assert socket_path.is_socket()
    with running(tmp_path) as served:
        assert ask_over_socket(socket_path, "GET", "/readyz").status == 200
        for key in acknowledged.durable:
            assert ask(served.url, "GET", f"/v1/frames/{key}").status == 200
        assert served.end() == 0
    held, given = on_disk(tmp_path), ChainMap(*frames)
    assert acknowledged.durable <= held.keys()
    assert all(held[key] == given[key] for key in held)


def test_while_it_drains_requests_under_way_end_and_others_go_elsewhere(tmp_path):
    ((key, frame),) = whole_frames(1).items()
    with running(tmp_path) as served:
        host, port = urlsplit(served.url).netloc.split(":")
        idle = HTTPConnection(host, int(port), timeout=30)
        assert ask_over(idle, "GET", "/readyz").json == {"status": "ready"}
        with socket.create_connection((host, int(port)), timeout=30) as slow:
            head = (
                f"PUT /v1/frames/{key} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(frame)}\r\n"
                f"Kvstore-Xxh3: {xxhash.xxh3_128_hexdigest(frame)}\r\n\r\n"
            )
            slow.sendall(head.encode() + frame[:100])
            until(lambda: b"requests_under_way 1.0" in ask(served.url, "GET", "/metrics").body)
            served.process.send_signal(signal.SIGTERM)
            until(lambda: ask(served.url, "GET", "/readyz").status == 503)
            assert ask(served.url, "GET", "/readyz").json["code"] == "draining"
            assert ask(served.url, "GET", "/healthz").status == 200
            declined = ask_over(idle, "GET", f"/v1/frames/{key}")
            assert (declined.status, declined.json["code"]) == (503, "draining")
            assert declined.headers["connection"] == "close"
            assert served.process.poll() is None
            slow.sendall(frame[100:])
            answer = slow.recv(1 << 16)
            assert answer.startswith(b"HTTP/1.1 201 ")
        idle.close()
        assert served.process.wait(_END_S) == 0
    assert on_disk(tmp_path) == {key: frame}


def test_connections_that_wait_for_nothing_are_closed(tmp_path):
    with running(tmp_path) as served:
        idle = HTTPConnection(urlsplit(served.url).netloc, timeout=30)
        assert ask_over(idle, "GET", "/healthz").status == 200
        began_s = time.monotonic()
        assert served.end() == 0
        assert time.monotonic() - began_s < 10
        assert idle.sock.recv(1) == b""
        idle.close()


def test_two_do_not_share_a_store(tmp_path):
    with running(tmp_path) as served:
        with pytest.raises(AssertionError, match="another process writes the store's directory"):
            running(tmp_path).__enter__()
        assert ask_over_socket(tmp_path / "sidecar.sock", "GET", "/healthz").status == 200
        assert served.process.poll() is None


def test_it_says_where_it_listens_and_logs_as_it_is_told(tmp_path):
    with running(tmp_path, "--log", "text") as served:
        assert served.said[1].endswith(f"at unix:{tmp_path}/sidecar.sock\n")
        ask(served.url, "GET", "/v1/frames/" + "0" * 64, headers={"X-Request-Id": "mine"})
        assert served.end() == 0
    assert re.search(r"^kvstore: INFO GET /v1/frames/\{key\} 404 in .* ms \[mine\]$", served.log.read_text(), re.M)


def test_a_log_that_is_no_terminal_is_json(tmp_path):
    with running(tmp_path) as served:
        assert served.end() == 0
    assert all(json.loads(line)["level"] == "INFO" for line in served.log.read_text().splitlines())


def until(done):
    ends_s = time.monotonic() + 20
    while not done():
        assert time.monotonic() < ends_s
        time.sleep(0.02)
