"""The memory tier's policies against libcachesim's, and Belady's against all of them."""

import json
import random

import pytest

from kvstore import LRU, S3FIFO

pytest.importorskip("libcachesim")

from benchmarks.hit_rate import replayed
from benchmarks.peer_caches import belady, leading_hits, peer
from benchmarks.request_trace import made_up_chats, read_requests

CHATS = made_up_chats(800)


def single_blocks(num_requests, num_distinct):
    """Requests of one block each, some far more popular than others: nothing for prefixes to decide."""
    choose = random.Random(0)
    return [[min(int(choose.paretovariate(0.8)), num_distinct)] for _ in range(num_requests)]


def of_peer(name, requests, num_blocks, **parameters):
    cache = peer(name, num_blocks, **parameters)
    return sum(leading_hits(cache, blocks) for blocks in requests)


@pytest.mark.parametrize("num_blocks", [10, 100])
def test_lru_hits_exactly_what_libcachesims_does(num_blocks):
    requests = single_blocks(20_000, 1000)
    assert replayed(requests, num_blocks, LRU())[0] == of_peer("libcachesim LRU", requests, num_blocks)


@pytest.mark.parametrize("num_blocks", [50, 100])
def test_s3fifo_hits_nearly_what_libcachesims_does(num_blocks):
    requests = single_blocks(20_000, 1000)
    same = {"small_size_ratio": 0.3, "ghost_size_ratio": 4.0, "move_to_main_threshold": 1}
    theirs = of_peer("libcachesim S3FIFO", requests, num_blocks, **same)
    assert replayed(requests, num_blocks, S3FIFO())[0] == pytest.approx(theirs, rel=0.02)


@pytest.mark.parametrize("num_blocks", [50, 500])
def test_nobody_hits_more_than_belady(num_blocks):
    best = sum(belady(CHATS, num_blocks))
    assert max(replayed(CHATS, num_blocks, policy())[0] for policy in (LRU, S3FIFO)) <= best
    assert best <= sum(belady(CHATS, 1 << 30))


def test_belady_keeps_what_comes_next():
    assert belady([[1], [2], [3], [1], [2]], 1) == [0, 0, 0, 1, 0]


def test_a_trace_is_read_by_its_hash_ids(tmp_path):
    file = tmp_path / "trace.jsonl"
    file.write_text('{"timestamp": 0, "hash_ids": [0, 1]}\n{"hash_ids": [0, 2]}\n')
    assert read_requests(file) == [[0, 1], [0, 2]]
    file.write_text(json.dumps({"tokens": 3}))
    with pytest.raises(ValueError, match="line 1"):
        read_requests(file)
