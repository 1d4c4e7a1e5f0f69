"""A full disk, a missing directory, a fork: reads go on where they can, and nothing wrong is served."""

import logging
import os
import resource
import shutil
import subprocess
import time
from contextlib import contextmanager, suppress

import pytest

from codec import Lossless
from kvstore import KVStore, Terms, TierUnavailable
from kvstore.testing import FRAME_BYTES, frame, frames, key, prompt
from tests.kv import SPEC, bits, kv_of_any_bits
from tests.kvstore.children import answer
from tests.small_disk import small_disk_at

CAPACITY = 64 << 20


@pytest.fixture
def small_disk(tmp_path):
    with small_disk_at(tmp_path / "small") as path:
        yield path


def put_until_full(tier):
    """Keys of the frames that were taken before the disk was full."""
    taken = []
    for number in range(1000):
        this = key(f"filler {number}")
        try:
            assert tier.put(frames([this], 100_000)) == 1
        except TierUnavailable:
            return taken
        taken.append(this)
    raise AssertionError("the disk never filled up")


def assert_goes_on_reading(tier, taken, num_bytes=100_000):
    assert tier.match(taken) == len(taken) > 0
    assert all(tier.get(each) == frame(each, num_bytes) for each in taken)
    assert sorted(entry.key for entry in tier.entries()) == sorted(taken)


def test_a_full_disk_reads_on_and_writes_again_once_there_is_space(small_disk, durable):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    with durable(small_disk / "store", CAPACITY) as tier:
        taken = put_until_full(tier)
        for number in range(3):
            with pytest.raises(TierUnavailable):
                tier.put(frames([taken[0], key(f"more {number}")], 200_000))
        assert_goes_on_reading(tier, taken)
        ballast.unlink()
        assert tier.put(frames([key("again")], 100_000)) == 1
    with durable(small_disk / "store", CAPACITY) as tier:
        assert_goes_on_reading(tier, [*taken, key("again")])


def test_a_store_on_a_full_disk_declines_counts_and_logs_once(small_disk, durable, caplog):
    ballast = small_disk / "ballast"
    store = KVStore([durable(small_disk / "store", CAPACITY)], Lossless(), chunk_tokens=4)
    identity, kv = store.identity(SPEC), kv_of_any_bits(SPEC, 400)
    store.save(identity, range(40), kv.tokens(0, 40))
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            saved = store.save(identity, range(400), kv)
            assert (saved.saved, saved.held, saved.declined) == (0, 10, 90)
            assert bits(store.load(store.match(identity, range(400)))) == bits(kv.tokens(0, 40))
    assert len(caplog.records) == 1
    assert store.metrics.snapshot()["tier_unavailable"] == 3
    assert store.metrics.snapshot()["chunks_declined"] == 270
    ballast.unlink()
    time.sleep(1.3)  # three puts failed: the breaker has none tried for a while
    assert store.save(identity, range(400), kv).saved == 90
    assert bits(store.load(store.match(identity, range(400)))) == bits(kv)
    store.close()


def put_beyond_a_file_size_limit(durable, path):
    limit_bytes, hard = 2 << 20, resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    with durable(path, CAPACITY) as tier:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
        taken = put_until_full(tier)
        assert_goes_on_reading(tier, taken)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert tier.put(frames([key("again")], 100_000)) == 1
        assert_goes_on_reading(tier, [*taken, key("again")])
    return len(taken)


def test_a_file_size_limit_is_like_a_full_disk(tmp_path, durable):
    assert answer(put_beyond_a_file_size_limit, durable, tmp_path) in range(5, 21)


def test_a_directory_that_cannot_be_made_is_unavailable(tmp_path, durable):
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(TierUnavailable):
        durable(tmp_path / "file" / "store", CAPACITY)
    with pytest.raises(TierUnavailable):
        durable(tmp_path / "file", CAPACITY)


@pytest.mark.parametrize("use", ["get", "put", "delete", "quarantine"])
def test_use_after_a_fork_is_unavailable_in_the_child_only(tmp_path, durable, use):
    keys = prompt("a", 2)
    uses = {
        "get": lambda tier: tier.get(keys[0]),
        "put": lambda tier: tier.put(frames(keys)),
        "delete": lambda tier: tier.delete(keys[0]),
        "quarantine": lambda tier: tier.quarantine(keys[0], "for a test"),
    }
    with durable(tmp_path, CAPACITY) as tier:
        tier.put(frames(keys))
        assert isinstance(answer(uses[use], tier), TierUnavailable)
        assert tier.get(keys[0]) == frame(keys[0])


def test_closing_in_a_forked_child_leaves_the_parent_its_directory(tmp_path, durable):
    with durable(tmp_path, CAPACITY) as tier:
        tier.put(frames(prompt("a", 2)))
        tier.touch(prompt("a", 2))
        assert answer(tier.close) is None
        assert tier.put(frames(prompt("b", 2))) == 2
        assert isinstance(answer(durable, tmp_path, CAPACITY), TierUnavailable)


def test_use_after_closing_is_unavailable(tmp_path, durable):
    tier = durable(tmp_path, CAPACITY)
    tier.put(frames([key("a")]))
    tier.close()
    for use in (lambda: tier.get(key("a")), lambda: tier.put(frames([key("a")]))):
        with pytest.raises(TierUnavailable):
            use()


def test_a_clock_that_goes_backwards_loses_nothing_and_keeps_the_budget(tmp_path, durable):
    now_s, size = [2e9], 50_000
    with durable(tmp_path, 10 * size, clock=lambda: now_s[0]) as tier:
        for number in range(40):
            keys = prompt(str(number), 4)
            assert tier.put(frames(keys, size)) == 4
            assert tier.match(keys) == 4
            assert all(tier.get(each) == frame(each, size) for each in keys)
            tier.touch(keys)
            now_s[0] -= 1e8 if number == 20 else 1e3
            assert tier.size_bytes <= 10 * size
    now_s[0] = -5.0  # before 1970
    with durable(tmp_path, 10 * size, clock=lambda: now_s[0]) as tier:
        assert tier.put(frames(prompt("last", 2), size)) == 2
        assert tier.match(prompt("last", 2)) == 2
        assert all(tier.get(entry.key) == frame(entry.key, size) for entry in tier.entries())


def test_frames_still_expire_when_the_clock_has_gone_backwards(tmp_path, durable):
    now_s = [2000.0]
    with durable(tmp_path, CAPACITY, clock=lambda: now_s[0]) as tier:
        tier.put(frames([key("a")]), terms=Terms(expires_at_s=2100.0))
        now_s[0] = 1000.0
        assert tier.get(key("a")) == frame(key("a"))
        now_s[0] = 2100.0
        assert tier.get(key("a")) is None


def test_a_writer_whose_directory_vanished_serves_nothing_wrong_and_begins_anew(tmp_path, durable):
    path, keys = tmp_path / "store", prompt("a", 4)
    store = KVStore([durable(path, CAPACITY)], Lossless(), chunk_tokens=4)
    identity, kv = store.identity(SPEC), kv_of_any_bits(SPEC, 40)
    store.save(identity, range(20), kv.tokens(0, 20))
    shutil.rmtree(path)
    store.save(identity, range(40), kv)
    loaded = store.load(store.match(identity, range(40)))
    assert loaded is None or bits(loaded) == bits(kv.tokens(0, loaded.num_tokens))
    store.close()
    with durable(path, CAPACITY) as tier:
        assert tier.put(frames(keys)) == 4
        assert all(tier.get(each) == frame(each) for each in keys)


@contextmanager
def read_only(path):
    """Nobody writes below it, root neither."""
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("mounting a directory read-only needs root and mount(8)")
    mount = ["mount", "--bind", str(path), str(path)]
    if (done := subprocess.run(mount, capture_output=True, text=True)).returncode:
        pytest.skip(f"a directory cannot be mounted here: {done.stderr.strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(path)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_a_read_only_directory_is_unavailable_to_a_writer_and_served_by_a_reader(tmp_path, durable, reader_of):
    path, keys = tmp_path / "store", prompt("a", 4)
    with durable(path, CAPACITY) as tier:
        tier.put(frames(keys))
    with read_only(path):
        for _ in range(2):
            with pytest.raises(TierUnavailable, match="cannot be written"):
                durable(path, CAPACITY)
        with reader_of(path) as reader:
            assert_goes_on_reading(reader, keys, FRAME_BYTES)
            assert reader.put(frames([key("b")])) == 0
    with durable(path, CAPACITY) as tier:
        assert_goes_on_reading(tier, keys, FRAME_BYTES)
        assert tier.put(frames([key("b")])) == 1


def test_a_store_cannot_be_made_in_a_read_only_directory(tmp_path, durable, reader_of):
    (tmp_path / "parent" / "empty").mkdir(parents=True)
    with read_only(tmp_path / "parent"):
        for path in (tmp_path / "parent" / "store", tmp_path / "parent" / "empty"):
            for open_it in (lambda path=path: durable(path, CAPACITY), lambda path=path: reader_of(path)):
                with pytest.raises(TierUnavailable):
                    open_it()
