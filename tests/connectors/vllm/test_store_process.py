"""The store's process keeps what it is given, gives it back in slots, and takes nobody with it when it dies."""

import os
import signal
import socket
import time

import pytest

from benchmarks.disk_directory import wait_for_saves
from connectors.vllm.owner import Owner
from connectors.vllm.staging import Shared, Staging
from connectors.vllm.store_client import RankMemory, StoreClient
from kvstore import LoRA, Multimodal
from tests.kv import SPEC, bits, kv_of_any_bits

CHUNK = 4
TOKENS = list(range(100, 100 + 3 * CHUNK + 1))
KV = kv_of_any_bits(SPEC, 3 * CHUNK)
ALICE = Owner("alice", LoRA("adapter", "/adapter"), (Multimodal("picture", 2, 5),))


def settings(directory, **others):
    return {
        "store.path": str(directory),
        "store.codec": "lossless",
        "store.chunk_tokens": CHUNK,
        "memory.capacity_bytes": 1 << 24,
        "disk.capacity_bytes": 1 << 24,
        **others,
    }


@pytest.fixture
def staging():
    return Staging.create(1 << 20, SPEC, CHUNK)


@pytest.fixture
def opened(staging):
    """`opened(directory, saves=True)` gives a client; all are closed at the end."""
    clients = []

    def open_store(directory, saves=True, **others):
        clients.append(StoreClient())
        codec = clients[-1].open([RankMemory(SPEC, staging.shared)], settings(directory, **others), saves)
        assert codec == "lossless{}"
        return clients[-1]

    yield open_store
    for client in clients:
        client.close()


def reply(client, timeout_s=20):
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s:
        if replies := client.replies():
            (only,) = replies
            return only
        time.sleep(0.005)
    raise TimeoutError("the store's process does not answer")


def fill(staging, slots, kv=KV):
    for chunk, slot in enumerate(slots):
        part = kv.tokens(chunk * CHUNK, (chunk + 1) * CHUNK)
        for given, room in zip((*part.keys, *part.values), pairs(staging, slot), strict=True):
            room.copy_(given)


def pairs(staging, slot):
    return (*staging.slots[slot].keys, *staging.slots[slot].values)


def test_what_was_saved_is_found_and_loaded_by_the_next_process(staging, opened, tmp_path):
    first = opened(tmp_path)
    fill(staging, [5, 3, 7])
    first.prompt_computed(3 * CHUNK)
    first.save(1, ALICE, TOKENS[: 3 * CHUNK], [5, 3, 7])
    kind, fields = reply(first)
    assert (kind, fields["job"], fields["kept"], fields["counts"]["chunks_saved"]) == ("saved", 1, True, 3)
    assert fields["counts"]["tokens_computed"] == 3 * CHUNK
    first.close()
    second = opened(tmp_path)
    second.find("a", ALICE, TOKENS)
    assert reply(second) == ("found", {"request": "a", "held": 3})
    second.load("a", CHUNK, len(TOKENS), [0, 1])
    kind, fields = reply(second)
    assert (kind, fields["loaded"], fields["held"]) == ("loaded", 2, 3)
    for slot, start in ((0, CHUNK), (1, 2 * CHUNK)):
        assert bits(staging.slots[slot]) == bits(KV.tokens(start, start + CHUNK))
    for other in (Owner(), Owner("alice"), Owner("alice", ALICE.lora)):
        second.find("b", other, TOKENS)
        assert reply(second)[1]["held"] == 0


def test_it_goes_on_saving_when_the_engine_is_gone(staging, opened, tmp_path):
    client = opened(tmp_path)
    fill(staging, range(3))
    for job in range(20):
        client.save(job, Owner(str(job)), TOKENS[: 3 * CHUNK], [0, 1, 2])
    client._outgoing.put(None)
    client._sender.join()
    with socket.socket(fileno=os.dup(client._connection.fileno())) as ours:
        ours.shutdown(socket.SHUT_RDWR)  # as when the engine is killed
    wait_for_saves(tmp_path)
    other = opened(tmp_path)
    other.find("a", Owner("19"), TOKENS)
    assert reply(other)[1]["held"] == 3


def test_one_that_only_reads_leaves_the_directory_to_its_writer(staging, opened, tmp_path):
    reader, writer = opened(tmp_path, saves=False), opened(tmp_path)
    fill(staging, range(3))
    writer.save(1, Owner(), TOKENS[: 3 * CHUNK], [0, 1, 2])
    assert reply(writer)[1]["kept"]
    reader.find("a", Owner(), TOKENS)
    assert reply(reader)[1]["held"] == 3


def test_chunks_that_vanish_between_find_and_load_are_not_loaded(staging, opened, tmp_path):
    client = opened(tmp_path, **{"memory.capacity_bytes": 0})
    fill(staging, range(3))
    client.save(1, Owner(), TOKENS[: 3 * CHUNK], [0, 1, 2])
    reply(client)
    client.find("a", Owner(), TOKENS)
    reply(client)
    for path in tmp_path.glob("segments/*"):
        path.unlink()
    client.load("a", 0, len(TOKENS), [3, 4, 5])
    kind, fields = reply(client)
    assert (kind, fields["loaded"], fields["held"]) == ("loaded", 0, 0)


def test_a_look_up_that_raises_finds_nothing_and_the_next_is_answered(staging, opened, tmp_path):
    client = opened(tmp_path)
    fill(staging, [0])
    client.save(1, Owner(), TOKENS[:CHUNK], [0])
    reply(client)
    client.find("a", Owner(multimodal=(Multimodal("picture", "nowhere", 5),)), TOKENS)
    assert reply(client) == ("found", {"request": "a", "held": 0})
    client.find("b", Owner(), TOKENS)
    assert reply(client) == ("found", {"request": "b", "held": 1})


def test_its_death_is_noticed_and_nothing_raises(opened, tmp_path):
    client = opened(tmp_path)
    os.kill(client._process.pid, signal.SIGKILL)
    client._process.wait()
    until_s = time.monotonic() + 10
    while client.alive and time.monotonic() < until_s:
        time.sleep(0.01)
    assert not client.alive
    client.find("a", Owner(), TOKENS)
    client.forget("a")
    assert client.replies() == []


def test_a_store_that_cannot_be_opened_says_why(staging, tmp_path):
    for wrong, reason in (
        ({"store.codec": "transform"}, "kvstore calibrate"),
        ({"store.path": "/proc/none"}, "/proc/none"),
        ({"store.paht": "x"}, "did you mean store.path"),
    ):
        client = StoreClient()
        with pytest.raises(RuntimeError, match=reason):
            client.open([RankMemory(SPEC, staging.shared)], settings(tmp_path, **wrong), True)
        client.close()


def test_staging_that_is_gone_too_short_or_too_much_is_refused(staging):
    with pytest.raises(OSError, match="shorter"):
        Staging.open(Shared(staging.shared.path, staging.shared.num_slots + 1000), SPEC, CHUNK)
    with pytest.raises(OSError, match="No such file"):
        Staging.open(Shared("/proc/self/fd/9999", 1), SPEC, CHUNK)
    with pytest.raises(OSError, match="bytes of memory left"):
        Staging.create(1 << 50, SPEC, CHUNK)


def test_both_ends_of_staging_see_the_same_slots(staging):
    other = Staging.open(staging.shared, SPEC, CHUNK)
    fill(staging, [2])
    assert bits(other.slots[2]) == bits(KV.tokens(0, CHUNK))
    assert bits(other.slots[1]) != bits(other.slots[2])
