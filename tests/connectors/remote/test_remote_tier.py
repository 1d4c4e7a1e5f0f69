"""RemoteTier keeps the contract of places that others share, over the naive store and over a true server."""

import sys
from hashlib import sha256

import pytest

from connectors.remote.memory_store import MemoryStore
from connectors.remote.opening import open_remote
from connectors.remote.remote_tier import RemoteTier
from connectors.setting_values import SECRETS
from connectors.settings import build_store, load_settings
from kvstore import InvalidRequest
from kvstore.testing import HoldingContract, frame, frames, held, key, prompt
from tests.connectors.remote.redis_servers import redis_server, wait_until

KEYS = prompt("a", 32)


class Flushing(RemoteTier):
    """Waits until what it put is there."""

    def put(self, *arguments, **named):
        stored = super().put(*arguments, **named)
        self.flush(20.0)
        return stored


def flushing(url):
    tier = open_remote(url, deadline_s=20.0)
    tier.__class__ = Flushing
    return tier


class TestOverTheNaiveStore(HoldingContract):
    def roomy(self, tmp_path):
        return Flushing(MemoryStore(), deadline_s=20.0)


@pytest.fixture(scope="module")
def server():
    with redis_server() as running:
        yield running


class TestOverRedis(HoldingContract):
    @pytest.fixture(autouse=True)
    def _served(self, server):
        self._server = server

    def roomy(self, tmp_path):
        self._server.client.flushall()
        return flushing(self._server.url())


@pytest.fixture
def tier(server):
    """Of an empty server, with a prompt of 32 chunks in it."""
    server.client.flushall()
    with open_remote(server.url(), deadline_s=20.0) as opened:
        opened.put(frames(KEYS, 20_000))
        opened.flush(20.0)
        yield opened


def reads_of(server):
    """How often the server has read from a socket; asking that is one of them."""
    return server.client.info("stats")["total_reads_processed"]


def calls_of(server, command):
    return server.client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"]


def test_a_look_up_is_one_round_trip(tier, server):
    assert tier.match(KEYS) == 32  # connected
    before = reads_of(server)
    assert tier.match([*KEYS, key("never put")]) == 32
    assert reads_of(server) - before == 2


def test_a_load_reads_ahead_and_gets_every_frame_once(tier, server):
    assert tier.match(KEYS) == 32
    before = calls_of(server, "get")
    assert [held(tier, each) for each in KEYS] == [frame(each, 20_000) for each in KEYS]
    assert calls_of(server, "get") - before == 32


def test_headers_of_a_prompt_are_asked_for_together_and_say_what_a_get_does(tier, server):
    assert tier.match(KEYS) == 32
    before = reads_of(server)
    assert [tier.entry(each).size_bytes for each in KEYS] == [20_000] * 32
    assert reads_of(server) - before == 2
    num_got = calls_of(server, "get")
    tier.get(KEYS[3])
    wait_until(lambda: calls_of(server, "get") - num_got == 4, "those behind it are got ahead")
    before = reads_of(server)
    assert tier.entry(KEYS[3]).parent == KEYS[2]
    assert reads_of(server) - before == 1


def test_the_first_bytes_alone_are_read(tier):
    assert tier.match(KEYS) == 32
    begun = tier.peek(KEYS[0], 1000)
    assert bytes(begun) == frame(KEYS[0], 20_000)[:1000]
    assert len(begun.obj) < 2000, "what came from the server"


def test_it_says_how_it_does(tier):
    [state] = tier.states()
    assert state.problem is None
    assert state.size_bytes > 32 * 20_000
    assert not state.reads_held_off
    assert not state.writes_held_off


def test_another_host_finds_frames_and_profiles(tier, server):
    fingerprint = sha256(b"a profile").hexdigest()
    assert tier.keep_profile(fingerprint, b"a profile")
    with open_remote(server.url(), deadline_s=20.0) as other:
        assert held(other, KEYS[0]) == frame(KEYS[0], 20_000)
        assert other.profile(fingerprint) == b"a profile"
        assert other.profiles() == [fingerprint]


def test_a_profile_that_is_damaged_there_is_put_again(tier, server):
    fingerprint = sha256(b"a profile").hexdigest()
    assert tier.keep_profile(fingerprint, b"a profile")
    server.client.setrange(f"kvstore:profiles/{fingerprint}", 600, b"damage")
    assert tier.profile(fingerprint) is None
    wait_until(lambda: tier.keep_profile(fingerprint, b"a profile"), "it is deleted")
    assert tier.profile(fingerprint) == b"a profile"


def test_a_tier_that_may_not_write_does_not(server):
    server.client.flushall()
    with open_remote(server.url(), deadline_s=20.0, writes=False) as tier:
        assert tier.put(frames(KEYS)) == 0
        assert not tier.keep_profile(sha256(b"a profile").hexdigest(), b"a profile")
    assert server.client.dbsize() == 0


def test_what_is_kept_for_a_while_expires_there(server):
    server.client.flushall()
    with open_remote(server.url(), deadline_s=20.0, ttl_s=100.0) as tier:
        tier.put(frames(KEYS[:1]))
        tier.flush(20.0)
        assert 90 < server.client.ttl(f"kvstore:frames/{KEYS[0]}") <= 100


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://:secret@host:port",
        "redis://:secret@host/db",
        "redis://:secret@host?namespace=a:b",
        "redis://:secret@host?socket_timeout=1",
        "redis+sentinel://:secret@host",
        "redis+cluster://:secret@host/3",
        "nats://:secret@host",
    ],
)
def test_an_address_that_is_none_is_refused_without_its_secret(url):
    with pytest.raises(InvalidRequest) as refused:
        open_remote(url)
    assert "secret" not in str(refused.value)


def test_a_client_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("connectors.remote.redis_")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(InvalidRequest, match=r"pip install 'kvstore\[redis\]'"):
        open_remote("redis://127.0.0.1")


def test_a_store_of_the_settings_has_it_last_and_shows_no_secret(server, tmp_path):
    url = server.url("of-settings")
    settings = load_settings(environ={}, overrides={"store.path": str(tmp_path), "remote.url": url})
    with build_store(settings) as store:
        assert [tier.name for tier in store.tier.tiers] == ["memory", "disk", "remote"]
        assert store.tier.tiers[2].put(frames(KEYS[:2])) == 2
        store.tier.tiers[2].flush(20.0)
        assert store.tier.runs(KEYS) == [("remote", 2)]
    assert {"remote.url", "remote.replica"} <= SECRETS


def test_what_is_on_its_way_when_a_tier_is_closed_is_written(server):
    keys = prompt("closed at once", 3)
    with open_remote(server.url(), deadline_s=5.0) as one:
        one.put(frames(keys, 2_000_000))
    with open_remote(server.url(), deadline_s=5.0) as other:
        assert other.match(keys) == 3
