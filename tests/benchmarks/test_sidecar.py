"""What holds the sidecar beside other servers: all give back what they were given, and the tables follow."""

import pytest

from benchmarks.http_connection import HttpConnection
from benchmarks.sidecar import _body_checks, _match_checks
from benchmarks.sidecar_bodies import WAYS, Bodies
from benchmarks.sidecar_clients import ClientProcess, Done, Task
from benchmarks.sidecar_frames import frame, write_frames
from benchmarks.sidecar_match import match_speed
from benchmarks.sidecar_servers import Nginx, Nothing, Redis, ServerProcess, Sidecar
from benchmarks.sidecar_soak import soak
from connectors.sidecar.service import require_frame
from kvstore import ChunkKey

MIB = 1 << 20
EVERY_CORE = set(range(1024))


@pytest.fixture(scope="module")
def clients():
    with ClientProcess(EVERY_CORE) as one, ClientProcess(EVERY_CORE) as other:
        yield [one, other]


def test_a_frame_is_whole_and_of_its_key_and_nearly_as_long_as_was_asked_for(tmp_path):
    first, second = write_frames(tmp_path, "frames", MIB, 2)
    content = (tmp_path / first).read_bytes()
    require_frame(ChunkKey.from_hex(first), content)
    assert first != second
    assert MIB <= len(content) + 72 < MIB * 1.03


def test_the_server_that_does_nothing_reads_and_answers(tmp_path):
    with Nothing(tmp_path) as server:
        for address in server.addresses().values():
            with HttpConnection(address, MIB) as connection:
                assert connection.ask("PUT", "/key", bytes(MIB)).status == 201
                assert len(connection.ask("GET", f"/{MIB}").body) == MIB
                assert len(connection.ask("GET", "/7").body) == 7


def test_an_answer_that_is_longer_than_the_buffer_is_refused(tmp_path):
    with (
        Nothing(tmp_path) as server,
        HttpConnection(server.tcp, 1024) as connection,
        pytest.raises(ConnectionError, match="1024"),
    ):
        connection.ask("GET", "/1025")


def test_a_server_that_does_not_come_up_says_why(tmp_path):
    class Broken(ServerProcess):
        name = "broken"

        def command(self):
            return ["sh", "-c", "echo no such luck; exit 3"]

    with pytest.raises(RuntimeError, match="no such luck"), Broken(tmp_path):
        pass


@pytest.mark.parametrize(("kind", "put", "get"), [(Nginx, None, "get"), (Redis, "Redis set", "Redis get")])
def test_what_the_others_serve_is_what_they_were_given(kind, put, get, tmp_path, clients):
    if not kind.installed():
        pytest.skip(f"{kind.name} is not installed")
    frames = tmp_path / "frames"
    keys = write_frames(frames, "frames", MIB // 8, 3)
    arguments = [frames] if kind is Nginx else []
    with kind(tmp_path / "server", *arguments) as server:
        for address in server.addresses().values():
            for way in (put, get) if put else (get,):
                clients[0].prepare(Task(way, address, keys, 0.0, 3, str(frames)))
                clients[0].start()
                assert clients[0].done().num_bytes == 3 * len(frame(keys[0], 0, MIB // 8))


def test_a_client_that_is_answered_something_else_ends_the_run(tmp_path):
    with Nothing(tmp_path) as server, ClientProcess(EVERY_CORE) as client, pytest.raises(EOFError):
        client.prepare(Task("checked get", server.tcp, ["7"], 0.1))


def test_every_way_has_a_row_and_descriptors_stand_beside_bodies(tmp_path, clients):
    with Sidecar(tmp_path / "sidecar", 64 * MIB, 64 * MIB) as sidecar, Nothing(tmp_path / "nothing") as nothing:
        bodies = Bodies({"sidecar": sidecar, "nothing": nothing}, clients, tmp_path / "frames", MIB // 8)
        bodies.fill(4)
        rows = bodies.measured(2, 0.05, [1, 2])
    assert len(rows) == 2 * sum(way.server in ("sidecar", "nothing") for way in WAYS)
    assert all(row["gb_s"] > 0 and row["p50_ms"] <= row["p99_ms"] for row in rows)
    beside = {row["verb"]: row["beside"] for row in rows if row["way"] == "sidecar, unix"}
    assert beside["descriptors"] == "sidecar checked GET"
    assert beside["GET"] == ""


def test_matches_are_timed_in_a_store_of_many_chunks(tmp_path, clients):
    rows = match_speed(tmp_path, clients, 320, 50, [1, 2])
    assert [(row["clients"], row["over"]) for row in rows] == [(1, "tcp"), (1, "unix"), (2, "tcp"), (2, "unix")]
    assert all(0 < row["p50_ms"] <= row["p99_ms"] <= row["max_ms"] for row in rows)
    assert len(_match_checks(rows)) == 2


def test_a_soak_counts_every_answer_and_compares_every_frame(tmp_path, clients):
    (row,), checks = soak(tmp_path, clients, 4.0)
    assert row["failed"] == row["wrong"] == 0
    assert row["requests"] > 50
    assert "get 200" in row["answers"]
    assert len(checks) == 3


def test_the_bars_are_for_frames_of_one_mebibyte_over_tcp():
    def row(verb, way, of_it, corpus="1024 KiB frames"):
        return {"corpus": corpus, "verb": verb, "way": way, "clients": 1, "of_it": of_it, "beside": "another"}

    rows = [
        row("GET", "sidecar, tcp", 0.95),
        row("GET", "sidecar, unix", 0.1),
        row("GET", "sidecar, tcp", 0.1, "256 KiB frames"),
        row("PUT", "sidecar, tcp", 0.5),
        row("descriptors", "sidecar, unix", 5.0),
        row("GET", "nginx, tcp", None),
    ]
    assert [check.ok for check in _body_checks(rows)] == [True, False, True]


def test_rates_are_bytes_over_the_clients_own_time():
    assert Done({"get": [0.5, 0.5]}, 2 * 10**9, 1.0).gb_s == 2.0
