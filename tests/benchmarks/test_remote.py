"""What measures remote tiers: links are as slow as they say, all that is put comes back, every fault is survived."""

import socket
import threading
import time

import pytest
import torch

from benchmarks.remote import _fault_checks, _link_checks
from benchmarks.remote_faults import FAULTS, Prompts, fault_costs
from benchmarks.remote_link import RAW, Context, over_link
from benchmarks.remote_servers import RedisServer
from benchmarks.remote_speed import look_ups, speeds
from benchmarks.shaped_link import Condition, Link
from codec import Int8, Lossless
from tests.connectors.hf.tiny import prompt, tiny_model
from tests.kv import SPEC, kv_of_any_bits

MIB = 1 << 20


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    if not RedisServer.installed():
        pytest.skip("redis-server is not installed")
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def echo():
    """A port where everything sent is sent back."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_echo, args=(listening,), daemon=True)
        thread.start()
        yield listening.getsockname()[1]


def _echo(listening):
    connection, _ = listening.accept()
    with connection:
        while piece := connection.recv(1 << 16):
            connection.sendall(piece)


def exchanged(connection, num_bytes):
    """What came back of that many bytes, and how long it took."""
    started_s, received = time.monotonic(), bytearray()
    sending = threading.Thread(target=connection.sendall, args=(bytes(num_bytes),))
    sending.start()
    while len(received) < num_bytes and (piece := connection.recv(1 << 16)):
        received += piece
    sending.join()
    return len(received), time.monotonic() - started_s


def test_a_link_is_no_faster_than_it_is_said_to_be_and_no_nearer(echo):
    with Link(echo, Condition(bytes_per_s=4 * MIB)) as link, socket.create_connection(("127.0.0.1", link.port)) as end:
        received, took_s = exchanged(end, MIB)
        assert received == MIB
        assert took_s > 0.9 * MIB / (4 * MIB)
        link.be(Condition(latency_s=0.1))
        assert exchanged(end, 10)[1] > 0.19


def test_a_link_cuts_answers_where_it_is_told_to(echo):
    with Link(echo, Condition(cut_after_bytes=1000)) as link, socket.create_connection(("127.0.0.1", link.port)) as end:
        end.sendall(bytes(5000))
        received = bytearray()
        while piece := end.recv(1 << 16):
            received += piece
        assert len(received) == 1000


def test_every_way_moves_what_it_is_given_and_a_look_up_is_one_round_trip(redis):
    rows = speeds(redis, [MIB // 8], [1, 2], MIB, 1)
    assert [row["way"] for row in rows] == ["redis-py", "store", "tier"] * 4
    assert all(row["gb_s"] > 0 for row in rows)
    assert look_ups(redis, 5)["round_trips"] < 1.5


def test_every_fault_has_a_row_and_none_gives_a_wrong_answer(redis):
    tokens = [[1000 * number + place for place in range(257)] for number in range(2)]
    kv = [kv_of_any_bits(SPEC, 256, seed) for seed in range(2)]
    rows = fault_costs(redis, Prompts(SPEC, tokens, kv, {128: 0.5, 256: 1.0}), 1, 2, 0.0)
    assert [row["fault"] for row in rows] == list(FAULTS)
    assert rows[0]["missed"] == 0
    assert all(row["wrong"] == 0 for row in rows)
    assert len(_fault_checks(rows)) == len(FAULTS) + 1


def test_over_a_link_raw_kv_stands_beside_coded_kv(redis):
    context = Context(tiny_model("llama"), torch.cat([prompt(256), prompt(16, seed=2)], dim=1))
    rows = over_link(redis, context, {"lossless": Lossless(), "int8": Int8()}, 0.1, 1)
    assert [row["codec"] for row in rows] == [RAW, "lossless", "int8"]
    assert rows[0]["fetch_x"] == rows[0]["smaller_x"] == 1
    assert rows[2]["smaller_x"] > 2
    assert len(_link_checks(rows)) == 4
