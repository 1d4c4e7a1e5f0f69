"""Whatever a true server does, a prompt is later by the deadline at most; nothing wrong comes, and no error."""

import time
from contextlib import contextmanager

import pytest

from connectors.remote.opening import open_remote
from kvstore import Metrics, Tiers, TierUnavailable
from kvstore.testing import frame, frames, held, prompt
from tests.connectors.remote.redis_servers import free_ports, redis_server, wait_until
from tests.connectors.remote.throttle import throttled

DEADLINE_S = 0.4
SLACK_S = 0.6  # of a machine that does other things as well; without a deadline each of these would wait for seconds
KEYS = prompt("a", 12)


@contextmanager
def tier_of(port, metrics=None, **options):
    with open_remote(f"redis://127.0.0.1:{port}", metrics, deadline_s=DEADLINE_S, **options) as tier:
        yield tier


@pytest.fixture
def server():
    """With a prompt in it."""
    with redis_server() as running:
        with tier_of(running.port) as tier:
            tier.put(frames(KEYS, 100_000))
            tier.flush(20.0)
        yield running


def load(tiers, keys=KEYS):
    """As a store does it: how many chunks came, all of them right, and how long that took."""
    started_s = time.monotonic()
    num_held = tiers.match(keys)
    if num_held:
        tiers.entry(keys[0])
    num_got = 0
    for key in keys[:num_held]:
        if (got := tiers.get(key)) is None:
            break
        assert bytes(got) == frame(key, 100_000)
        num_got += 1
    return num_got, time.monotonic() - started_s


def test_a_server_that_hangs_costs_one_deadline_and_comes_back(server):
    metrics = Metrics()
    with tier_of(server.port, metrics) as tier:
        tiers = Tiers([tier], metrics)
        wait_until(lambda: load(tiers)[0] == 12, "all is there")
        server.hang()
        took_s = [load(tiers) for _ in range(5)]
        assert all(got == 0 for got, _ in took_s)
        assert took_s[0][1] < DEADLINE_S + SLACK_S
        assert sum(seconds for _, seconds in took_s[1:]) < SLACK_S
        assert metrics.snapshot()["breakers_opened"] >= 1
        server.go_on()
        wait_until(lambda: load(tiers)[0] == 12, "the tier is asked again")


def test_a_server_that_hangs_in_the_middle_of_a_load_costs_one_deadline(server):
    with tier_of(server.port) as tier:
        tiers = Tiers([tier])
        assert tiers.match(KEYS) == 12
        assert tiers.get(KEYS[0]) is not None
        server.hang()
        started_s = time.monotonic()
        for key in KEYS[5:]:
            assert tiers.get(key) is None
        assert time.monotonic() - started_s < DEADLINE_S + SLACK_S


def test_a_server_that_was_killed_costs_next_to_nothing_and_may_return(server):
    with tier_of(server.port) as tier:
        tiers = Tiers([tier])
        wait_until(lambda: load(tiers)[0] == 12, "all is there")
        server.kill()
        assert sum(load(tiers)[1] for _ in range(10)) < SLACK_S
        with redis_server(port=server.port):
            tier.put(frames(KEYS, 100_000))
            wait_until(lambda: load(tiers)[0] == 12, "the server is found again")


def test_a_server_that_was_never_there_is_unavailable():
    [port] = free_ports(1)
    with tier_of(port) as tier:
        with pytest.raises(TierUnavailable):
            tier.match(KEYS)
        assert tier.put(frames(KEYS)) == 12
        assert tier.states()[0].problem


def test_a_slow_server_costs_a_prompt_one_deadline(server):
    with throttled(server.port) as proxy, tier_of(proxy.port) as tier:
        tiers = Tiers([tier])
        wait_until(lambda: load(tiers)[0] == 12, "all is there")
        proxy.answer_after_s = 0.06
        for _ in range(4):
            got, took_s = load(tiers)
            assert took_s < DEADLINE_S + SLACK_S
        assert got < 12


def test_a_slow_server_is_waited_for_when_computing_is_slower_still(server):
    with throttled(server.port) as proxy, tier_of(proxy.port, chunk_s=lambda: 1.0) as tier:
        tiers = Tiers([tier])
        proxy.bytes_per_s = 1_000_000
        wait_until(lambda: load(tiers)[0] == 12, "all has come")


def test_a_server_that_flaps_is_never_wrong_and_never_costs_more_than_the_deadline(server):
    with throttled(server.port) as proxy, tier_of(proxy.port) as tier:
        tiers = Tiers([tier])
        for round_ in range(30):
            proxy.broken = round_ % 3 == 1
            proxy.cut_after_bytes = 50_000 if round_ % 3 == 2 else float("inf")
            _, took_s = load(tiers)
            assert took_s < DEADLINE_S + SLACK_S
        proxy.broken, proxy.cut_after_bytes = False, float("inf")
        wait_until(lambda: load(tiers)[0] == 12, "it is asked again")


def test_a_full_server_is_read_and_its_writes_are_dropped_and_counted(server):
    metrics, more = Metrics(), prompt("b", 12)
    used = server.client.info("memory")["used_memory"]
    server.client.config_set("maxmemory", used)
    with tier_of(server.port, metrics, queue_bytes=1 << 20) as tier:
        tiers = Tiers([tier], metrics)
        assert tiers.put(frames(more, 100_000)) > 0
        wait_until(lambda: metrics.snapshot()["remote_writes_dropped"] > 0, "a write is dropped")
        assert load(tiers)[0] == 12
        assert tiers.match(more) == 0
        server.client.config_set("maxmemory", 0)
        tiers.put(frames(more[:2], 100_000))
        wait_until(lambda: tiers.match(more[:2]) == 2, "it is written to again", 60.0)


def test_what_a_server_evicts_is_a_miss_and_writes_go_on(server):
    server.client.config_set("maxmemory-policy", "allkeys-lru")
    server.client.config_set("maxmemory", server.client.info("memory")["used_memory"] + 500_000)
    metrics, more = Metrics(), prompt("b", 20)
    with tier_of(server.port, metrics) as tier:
        tier.put(frames(more, 100_000))
        tier.flush(20.0)
        assert metrics.snapshot()["remote_writes_dropped"] == 0
        there = [key for key in (*KEYS, *more) if tier.match([key])]
        assert 5 < len(there) < 32
        assert all(held(tier, key) == frame(key, 100_000) for key in there)


def test_a_wrong_password_is_unavailable_and_never_shown():
    with redis_server("--requirepass", "right-secret", password="right-secret") as server:
        right = f"redis://:right-secret@127.0.0.1:{server.port}"
        with open_remote(right, deadline_s=5.0) as tier:
            tier.put(frames(KEYS))
            tier.flush(20.0)
            assert tier.match(KEYS) == 12
            assert "secret" not in str(tier.states()) + str(tier.where(KEYS[0]))
        with open_remote(right.replace("right", "wrong"), deadline_s=5.0) as tier:
            with pytest.raises(TierUnavailable) as raised:
                tier.match(KEYS)
            assert "secret" not in str(raised.value)
