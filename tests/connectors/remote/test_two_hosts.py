"""Hosts that share one Redis and nothing else: what one has computed another loads, as well as the link lets it."""

import os
import subprocess
import sys

import pytest
import torch

from benchmarks.shaped_link import PERFECT, Condition, Link
from codec import Frame, KVArray, Transform, decode_chunk
from connectors.hf import CachedModel
from connectors.remote.opening import open_remote
from connectors.settings import load_settings
from kvstore import CostModel, KVStore
from tests.codec.calibrated import movable, profile_for
from tests.connectors.hf.steps import GREEDY, two_steps
from tests.connectors.hf.tiny import tiny_model
from tests.connectors.remote import host
from tests.connectors.remote.redis_servers import redis_server, wait_until
from tests.connectors.vllm.real_engine import connector, engine, one_by_one, prompts_of, require_vllm, whole_blocks
from tests.kv import SPEC, bits, kv_of_numbers

KV_SPEC = movable(SPEC)
CHUNK = 64
TOKENS = list(range(100, 100 + 4 * CHUNK))
KV = kv_of_numbers(KV_SPEC, len(TOKENS), seed=4)
TARGET_S = 1.0


@pytest.fixture
def server():
    with redis_server() as running:
        yield running


def num_frames(server):
    return len(server.client.keys("kvstore:frames/*"))


@pytest.mark.real_model
def test_what_one_vllm_engine_computed_another_loads_and_keeps(server, tmp_path):
    require_vllm()
    prompts = prompts_of((300, 400))
    remote = {"remote.url": server.url(), "remote.deadline_s": 5.0}
    with engine(connector(tmp_path / "a", **remote)) as first:
        assert one_by_one(first, prompts)[1] == [0, 0]
        own = one_by_one(first, prompts)
        wait_until(lambda: num_frames(server) == sum(whole_blocks(prompts)) // 128, "all is on the server", 60.0)
    assert own[1] == whole_blocks(prompts)
    with engine(connector(tmp_path / "b", **remote)) as second:
        assert one_by_one(second, prompts) == own
        server.kill()
        second.forget()
        assert one_by_one(second, prompts) == own  # its own disk has them by now


def test_what_transformers_computed_in_one_process_it_loads_in_another(server, tmp_path):
    def environ(name):
        return {
            "KVSTORE_STORE_PATH": str(tmp_path / name),
            "KVSTORE_STORE_CHUNK_TOKENS": "8",
            "KVSTORE_REMOTE_URL": server.url(),
            "KVSTORE_REMOTE_DEADLINE_S": "5",
        }

    there = [sys.executable, "-m", "tests.connectors.remote.host"]
    subprocess.run(there, env={**os.environ, **environ("a")}, check=True, timeout=120)
    model = tiny_model("llama")
    with CachedModel.open(model, load_settings(environ=environ("b"))) as cached:
        assert torch.equal(cached.generate(host.WHOLE, **GREEDY), two_steps(model, host.WHOLE[:, :48], host.WHOLE))
        assert cached.store.metrics.snapshot()["tokens_loaded"] == 48


@pytest.mark.parametrize(("takes_s", "quality"), [(0.01 * TARGET_S, "high"), (2 * TARGET_S, "small")])
def test_the_link_decides_at_which_quality_progressive_frames_come(server, takes_s, quality):
    """`takes_s`: for all frames in full."""
    codec = Transform(profile_for(KV_SPEC), "progressive")
    cost = CostModel()
    with (
        Link(server.port) as link,
        tier_over(link) as tier,
        KVStore([tier], codec, CHUNK, cost=cost, target_s=TARGET_S) as store,
    ):
        store.save(store.identity(KV_SPEC), TOKENS, KV)
        tier.flush(20.0)
        match = store.match(store.identity(KV_SPEC), TOKENS)
        frames = [bytes(tier.get(key)) for key in match.keys]
        link.be(Condition(bytes_per_s=sum(map(len, frames)) / takes_s))
        for _ in range(2):  # learns what the link takes
            store.load(match)
        for _ in range(60):
            cost.computed(KV_SPEC.fingerprint(), len(TOKENS), 0, 100.0)
            cost.computed(KV_SPEC.fingerprint(), 1, len(TOKENS), 0.1)
        back = store.load(store.plan(match, len(TOKENS)))
        link.be(PERFECT)
    assert bits(back) == bits(decoded(frames, quality))


def tier_over(link):
    return open_remote(f"redis://127.0.0.1:{link.port}", deadline_s=20.0, chunk_s=lambda: 25.0)


def decoded(frames, quality):
    out = KVArray.empty(KV_SPEC, len(TOKENS))
    for index, frame in enumerate(frames):
        decode_chunk(Frame(frame), out.tokens(index * CHUNK, (index + 1) * CHUNK), quality=quality)
    return out
