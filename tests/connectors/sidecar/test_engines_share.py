"""Engines with one sidecar: what one saves the other loads, if it is its own tenant's; without it they go on."""

import os
import signal
import time
from contextlib import contextmanager

import pytest

from connectors.settings import build_store, load_settings
from connectors.sidecar.callers import Tokens
from connectors.sidecar.opening import open_context
from connectors.sidecar_tier import SidecarTier
from kvstore import DiskTier, InvalidRequest, MemoryTier, Tiers
from tests.connectors.sidecar.serving import serving
from tests.kv import SPEC, bits, kv_of_any_bits
from tests.kvstore.children import child

PROMPT = list(range(100, 142))  # ten chunks of four, and two tokens more
KV = kv_of_any_bits(SPEC, len(PROMPT), seed=1)
ONE, OTHER = "token-of-tenant-one", "token-of-tenant-other"


def settings_of(tmp_path, **given):
    defaults = {"store.path": str(tmp_path / "unused"), "store.chunk_tokens": 4, "store.codec": "lossless"}
    named = {name.replace("__", "."): value for name, value in given.items()}
    return load_settings(environ={}, overrides={**defaults, "memory.capacity_bytes": 1 << 20, **named})


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """Opens an engine's store for a sidecar; closed when the test ends."""
    monkeypatch.chdir(tmp_path)
    opened = []

    def open_engine(url, writes=True, **given):
        opened.append(build_store(settings_of(tmp_path, sidecar__url=url, **given), writes=writes))
        return opened[-1]

    yield open_engine
    for store in opened:
        store.close()


@pytest.fixture(params=["tcp", "unix"])
def over(request):
    return request.param


@pytest.fixture
def sidecar(tmp_path, over):
    """Its URL: memory, and a disk below, for two tenants."""
    tiers, tokens = [MemoryTier(1 << 20), DiskTier(tmp_path / "store", 10 << 20)], {"one": ONE, "other": OTHER}
    with Tiers(tiers) as held, serving(held, tokens=Tokens("", tokens)) as served:
        yield served.url if over == "tcp" else f"unix:{served.socket}"


@pytest.mark.parametrize("memory_bytes", [0, 1 << 20])
def test_what_one_engine_saves_the_other_loads(sidecar, engine, memory_bytes):
    saver, loader = (engine(sidecar, sidecar__token=ONE, memory__capacity_bytes=memory_bytes) for _ in range(2))
    identity = saver.identity(SPEC, "one")
    assert loader.match(identity, PROMPT).num_tokens == 0
    assert saver.save(identity, PROMPT, KV).saved == 10
    for _ in range(2):
        match = loader.match(identity, PROMPT)
        assert match.num_tokens == 40
        assert bits(loader.load(match)) == bits(KV.tokens(0, 40))
    assert loader.save(identity, PROMPT, KV).held == 10
    assert not (loader.metrics.snapshot()["tier_unavailable"] + saver.metrics.snapshot()["tier_unavailable"])


def test_another_tenants_engine_finds_nothing(sidecar, engine):
    saver, other = engine(sidecar, sidecar__token=ONE), engine(sidecar, sidecar__token=OTHER)
    identity = saver.identity(SPEC, "one")
    saver.save(identity, PROMPT, KV)
    assert other.match(other.identity(SPEC, "other"), PROMPT).num_tokens == 0
    assert other.match(identity, PROMPT).num_tokens == 0
    with pytest.raises(InvalidRequest, match=r"sidecar\.token"):
        other.save(identity, PROMPT, KV)
    assert engine(sidecar, sidecar__token=ONE).match(identity, PROMPT).num_tokens == 40


def test_an_engine_that_only_reads_puts_nothing(sidecar, engine):
    reader = engine(sidecar, writes=False, sidecar__token=ONE, memory__capacity_bytes=0)
    saver = engine(sidecar, sidecar__token=ONE)
    identity = saver.identity(SPEC, "one")
    assert reader.save(identity, PROMPT, KV).declined == 10
    assert saver.match(identity, PROMPT).num_tokens == 0
    saver.save(identity, PROMPT, KV)
    assert bits(reader.load(reader.match(identity, PROMPT))) == bits(KV.tokens(0, 40))


def test_the_sidecar_is_there_instead_of_a_disk(engine, tmp_path):
    store = engine("http://127.0.0.1:1", shared__capacity_bytes=1 << 20, shared__path=str(tmp_path / "shared"))
    assert [type(tier) for tier in store.tier.tiers] == [MemoryTier, SidecarTier]
    assert not (tmp_path / "unused").exists()
    assert not (tmp_path / "shared").exists()


def test_the_service_does_not_ask_itself(tmp_path):
    settings = settings_of(tmp_path, sidecar__url="http://127.0.0.1:8470", disk__capacity_bytes=10 << 20)
    with open_context(settings) as context:
        assert [type(tier) for tier in context.service.tiers.tiers] == [MemoryTier, DiskTier]


# Without it.


def require_goes_on(store, within_s):
    """Saving, matching and loading answer in time, with what memory has."""
    identity = store.identity(SPEC)
    for _ in range(2):
        started_s = time.monotonic()
        saved = store.save(identity, PROMPT, KV)
        assert saved.saved + saved.held == 10
        assert bits(store.load(store.match(identity, PROMPT))) == bits(KV.tokens(0, 40))
        assert store.match(identity, PROMPT[4:]).num_tokens == 0
        assert time.monotonic() - started_s < within_s
    assert store.metrics.snapshot()["tier_unavailable"]


def test_an_engine_opens_and_goes_on_without_its_sidecar(engine, tmp_path):
    for url in ("http://127.0.0.1:1", f"unix:{tmp_path}/nothing.sock"):
        started_s = time.monotonic()
        store = engine(url)
        assert time.monotonic() - started_s < 1
        require_goes_on(store, within_s=2)


def serve_until_killed(pipe, directory):
    with Tiers([DiskTier(directory, 10 << 20)]) as tiers, serving(tiers) as served:
        pipe.send((served.url, f"unix:{served.socket}"))
        pipe.recv()


@contextmanager
def sidecar_process(directory):
    with child(serve_until_killed, directory) as (pipe, process):
        yield pipe.recv(), process


def test_a_sidecar_that_is_killed_is_a_miss_and_back_when_it_is(engine, over, tmp_path):
    with sidecar_process(tmp_path / "store") as (urls, process):
        url = urls[over == "unix"]
        saver, loader = engine(url), engine(url, memory__capacity_bytes=0)
        identity = saver.identity(SPEC)
        saver.save(identity, PROMPT, KV)
        match = loader.match(identity, PROMPT)
        assert match.num_tokens == 40
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        started_s = time.monotonic()
        assert loader.load(match) is None
        assert loader.match(identity, PROMPT).num_tokens == 0
        assert loader.save(identity, PROMPT, KV).declined == 10
        assert time.monotonic() - started_s < 2
        require_goes_on(saver, within_s=2)
    with sidecar_process(tmp_path / "store") as (urls, _):
        again = engine(urls[over == "unix"], memory__capacity_bytes=0)
        assert bits(again.load(again.match(identity, PROMPT))) == bits(KV.tokens(0, 40))


def test_a_sidecar_that_hangs_is_a_miss_in_time(engine, over, tmp_path):
    with sidecar_process(tmp_path / "store") as (urls, process):
        store = engine(urls[over == "unix"], sidecar__timeout_s=0.2)
        store.save(store.identity(SPEC), PROMPT[:4], KV.tokens(0, 4))
        os.kill(process.pid, signal.SIGSTOP)
        require_goes_on(store, within_s=4)


def test_a_sidecar_killed_while_it_answers_never_gives_wrong_kv(engine, over, tmp_path):
    for round_ in range(4):
        with sidecar_process(tmp_path / f"store {round_}") as (urls, process):
            saver = engine(urls[over == "unix"], memory__capacity_bytes=0)
            identity = saver.identity(SPEC)
            saver.save(identity, PROMPT, KV)
            loader = engine(urls[over == "unix"], memory__capacity_bytes=0)
            match = loader.match(identity, PROMPT)
            stop_after = iter(range(2 * round_))

            def stopped(stop_after=stop_after, process=process):
                if next(stop_after, None) is None:
                    process.kill()
                return False

            rooms = [kv_of_any_bits(SPEC, 4) for _ in range(10)]
            loaded = loader.load_chunks(match, rooms, stopped)
            for index, room in enumerate(rooms[:loaded]):
                assert bits(room) == bits(KV.tokens(4 * index, 4 * index + 4))
