"""SidecarTier keeps the tier contract over both transports, and a sidecar that fails is an unavailable tier."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from hashlib import sha256

import pytest

from connectors import sidecar_tier
from connectors.client import SidecarClient
from connectors.read_ahead import PromptOrder, Recent
from connectors.sidecar.callers import Tokens
from connectors.sidecar_tier import SidecarTier
from kvstore import DiskTier, InvalidRequest, MemoryTier, Metrics, MissingProfile, Terms, Tiers, TierUnavailable
from kvstore.testing import FRAME_BYTES, TierContract, frame, frames, key, prompt
from tests.connectors.sidecar.lying import CLOSE, HANG, answer, lying
from tests.connectors.sidecar.serving import any_bytes, serving
from tests.kvstore.children import answer as of_child


class OfAServer(SidecarTier):
    """Closes its server and the tiers behind it along with itself."""

    def __init__(self, served, opened, url):
        super().__init__(url, timeout_s=20.0)
        self.served, self._opened = served, opened

    def close(self):
        super().close()
        self._opened.close()


class OfSeveralTiers(OfAServer):
    """Waits until what it put is in all the server's tiers, as those who look at their budgets must."""

    def put(self, *arguments, **named):
        stored = super().put(*arguments, **named)
        assert self.served.context.service.behind.flush(20.0)
        return stored

    def delete(self, key):
        """Once more where another thread put the frame again meanwhile: the server says that it is still held."""
        for _ in range(20):
            with suppress(TierUnavailable):
                return super().delete(key)
        return super().delete(key)

    @property
    def size_bytes(self):
        """Of every copy."""
        return self.served.context.service.tiers.size_bytes


def served_tier(tiers, over, kind=OfAServer, **options):
    opened = ExitStack()
    held = opened.enter_context(Tiers(tiers))
    served = opened.enter_context(serving(held, check=any_bytes, **options))
    return kind(served, opened, served.url if over == "tcp" else f"unix:{served.socket}")


class SidecarContract(TierContract):
    """What a tier spares is its own process's to say; who wants frames of another's to stay takes a lease on them."""

    test_what_is_spared_stays_until_it_is_not = test_a_budget_of_spared_frames_declines = None

    def test_what_is_leased_stays_until_it_is_not(self, tmp_path):
        with self.tight(tmp_path, 4) as tier:
            keys = prompt("a", 2)
            tier.put(frames(keys))
            lease = asyncio.run(leased(tier, keys))
            for number in range(6):
                assert tier.put(frames([key(f"other {number}")])) == 1
            assert tier.match(keys) == 2
            assert asyncio.run(released(tier, lease))
            tier.put(frames(prompt("b", 4)))
            assert tier.match(keys[:1]) + tier.match(keys[1:]) == 0


async def leased(tier, keys):
    async with SidecarClient(tier.served.url) as client:
        return (await client.match(keys, 60.0)).lease


async def released(tier, lease):
    async with SidecarClient(tier.served.url) as client:
        return await client.release(lease)


class TestOverTcpWithADisk(SidecarContract):
    def make_tier(self, tmp_path, capacity_bytes):
        return served_tier([DiskTier(tmp_path, capacity_bytes)], "tcp")


class TestOverAUnixSocketWithADisk(SidecarContract):
    def make_tier(self, tmp_path, capacity_bytes):
        return served_tier([DiskTier(tmp_path, capacity_bytes)], "unix")


class TestOverTcpWithMemoryAndDisk(SidecarContract):
    copies = 2

    def make_tier(self, tmp_path, capacity_bytes):
        return served_tier([MemoryTier(capacity_bytes), DiskTier(tmp_path, capacity_bytes)], "tcp", OfSeveralTiers)


class TestOverAUnixSocketWithMemoryAndDisk(SidecarContract):
    copies = 2

    def make_tier(self, tmp_path, capacity_bytes):
        return served_tier([MemoryTier(capacity_bytes), DiskTier(tmp_path, capacity_bytes)], "unix", OfSeveralTiers)


@pytest.fixture(params=["tcp", "unix"])
def over(request):
    return request.param


@pytest.fixture
def open_tier(tmp_path, over):
    """Opens a tier over the transport, of a small disk unless other tiers are given; the test's end closes it."""
    with ExitStack() as opened:
        yield lambda *tiers, **options: opened.enter_context(
            served_tier(tiers or [DiskTier(tmp_path / "disk", 10 << 20)], over, **options)
        )


def frames_given(tier):
    return tier.served.context.service.metrics.snapshot()["frames_given"]


def test_a_load_reads_ahead_and_gets_every_frame_once(open_tier, over):
    tier, keys = open_tier(), prompt("a", 20)
    tier.put(frames(keys, 30_000))
    assert tier.match(keys) == 20
    assert [tier.get(each) for each in keys] == [frame(each, 30_000) for each in keys]
    assert frames_given(tier) == (20 if over == "tcp" else 0)


def test_what_was_read_ahead_is_right_after_a_put_and_a_delete(open_tier):
    tier, keys = open_tier(), prompt("a", 5)
    tier.put(frames(keys))
    for change in (lambda: tier.put([(keys[1], frame(keys[1], version=1))]), lambda: tier.delete(keys[1])):
        assert tier.match(keys) == 5
        assert tier.get(keys[0]) == frame(keys[0])
        tier.entry(keys[0])
        change()
        assert tier.get(keys[1]) in (frame(keys[1], version=1), None)
        assert (tier.get(keys[1]) is None) == (tier.entry(keys[1]) is None)


def test_what_has_gone_since_it_was_read_ahead_is_right_or_a_miss(open_tier, over):
    tier, keys = open_tier(), prompt("a", 10)
    with served_by_another(tier) as other:
        tier.put(frames(keys))
        tier.match(keys)
        tier.get(keys[0])
        other.delete_all(keys[::-1])
        other.put(frames(prompt("b", 10)))
        assert all(tier.get(each) in (None, frame(each)) for each in keys[1:])
        assert tier.match(keys) == 0


def served_by_another(tier):
    """Another tier of the same server."""
    return SidecarTier(tier.served.url, timeout_s=20.0)


def test_a_frame_moved_on_disk_comes_as_a_body(open_tier, tmp_path, over):
    if over == "tcp":
        pytest.skip("there are no descriptors")
    tier, keys = open_tier(), prompt("a", 3)
    tier.put(frames(keys))
    tier.match(keys)
    tier.get(keys[0])
    with served_by_another(tier) as other:
        other.put(frames(keys[1:2]))
    assert tier.get(keys[1]) == frame(keys[1])


def test_entries_are_asked_for_together(open_tier):
    tier, keys = open_tier(), prompt("a", 70)
    tier.put(frames(keys, 100))
    tier.match(keys)
    asked, ask = [], tier._client.entries
    tier._client.entries = lambda keys: asked.append(len(keys)) or ask(keys)
    assert [tier.entry(each).parent for each in keys] == [None, *keys[:-1]]
    assert asked == [64, 6]


def test_puts_are_split_until_the_server_takes_them(open_tier):
    tier, keys = open_tier(most_bytes=3 * FRAME_BYTES), prompt("a", 9)
    assert tier.put(frames(keys)) == 9
    assert tier.match(keys) == 9
    assert [entry.parent for entry in map(tier.entry, keys)] == [None, *keys[:-1]]
    big = [(key("b"), frame(key("b"))), (key("c"), frame(key("c"), 4 * FRAME_BYTES)), (key("d"), frame(key("d")))]
    assert tier.put(big) == 1


def test_puts_of_many_bytes_go_in_several_bodies(open_tier, monkeypatch):
    monkeypatch.setattr(sidecar_tier, "_TOGETHER_BYTES", 2 * FRAME_BYTES)
    tier, keys = open_tier(), prompt("a", 5)
    assert tier.put(frames(keys)) == 5
    assert [entry.parent for entry in map(tier.entry, keys)] == [None, *keys[:-1]]


def test_more_keys_than_the_server_takes_are_asked_for_in_portions(open_tier, monkeypatch):
    monkeypatch.setattr(sidecar_tier, "MOST_KEYS", 4)
    tier, keys = open_tier(), prompt("a", 10)
    tier.put(frames(keys[:9]))
    assert tier.match(keys) == tier.pin(keys) == 9
    tier.touch(keys)
    assert {(entry.pinned, entry.hits) for entry in tier.entries()} == {(True, 1)}


def test_a_reader_puts_nothing(open_tier):
    tier = open_tier()
    with SidecarTier(tier.served.url, writes=False) as reader:
        assert reader.put(frames(prompt("a", 2))) == 0
        assert not reader.keep_profile(sha256(b"a").hexdigest(), b"a")
    assert tier.match(prompt("a", 2)) == 0
    assert tier.profiles() == []


def test_a_profile_that_was_declined_is_not_sent_again(open_tier, caplog):
    tier = open_tier(MemoryTier(1000))
    for _ in range(2):
        assert not tier.keep_profile(sha256(b"a").hexdigest(), b"a")
    assert len(caplog.messages) == 1


def test_where_a_frame_lies_can_be_read(open_tier, over):
    tier = open_tier()
    tier.put(frames([key("a")]))
    place, where = tier.in_file(key("a")), tier.where(key("a"))
    if over == "tcp":
        assert place is None
        assert where == f"{tier.served.url}/v1/frames/{key('a')}"
    else:
        assert where == f"{place.path} at {place.offset}"
        assert place.path.read_bytes()[place.offset :][: place.size_bytes] == frame(key("a"))
    assert tier.where(key("b")) is tier.in_file(key("b")) is None


def test_why_a_frame_was_rejected_is_remembered(open_tier):
    tier = open_tier()
    tier.put(frames([key("a")]))
    tier.quarantine(key("a"), "x" * 1000)
    assert tier.rejection(key("a")) == "x" * 500
    assert tier.rejection(key("b")) is None


def test_the_first_bytes_come_alone(open_tier):
    tier = open_tier()
    tier.put(frames([key("a")]))
    assert tier.peek(key("a"), 100) == frame(key("a"))[:100]
    assert tier.peek(key("a"), 10**6) == frame(key("a"))
    assert tier.peek(key("b"), 100) is None


def test_another_tenants_frames_cannot_be_put():
    tokens = Tokens("admin-token-of-the-test", {"one": "token-of-tenant-one"})
    with Tiers([MemoryTier(1 << 20)]) as tiers, serving(tiers, tokens=tokens, check=any_bytes) as served:
        with SidecarTier(served.url, "token-of-tenant-one") as tier:
            assert tier.put(frames([key("a")]), terms=Terms("one")) == 1
            for tenant in ("", "other"):
                with pytest.raises(InvalidRequest, match=r"sidecar\.token"):
                    tier.put(frames([key("b")]), terms=Terms(tenant))
        with SidecarTier(served.url) as nobody, pytest.raises(InvalidRequest, match=r"sidecar\.token"):
            nobody.match([key("a")])


def test_a_profile_that_the_admin_put_is_kept_for_the_tenants(tmp_path):
    admin, one, fingerprint = "admin-token-of-the-test", "token-of-tenant-one", sha256(b"a").hexdigest()
    tiers, tokens = Tiers([DiskTier(tmp_path, 1 << 20)]), Tokens(admin, {"one": one})
    with tiers, serving(tiers, tokens=tokens) as served, SidecarTier(served.url, one) as tier:
        assert not tier.keep_profile(fingerprint, b"a")
        with SidecarTier(served.url, admin) as by_admin:
            assert by_admin.keep_profile(fingerprint, b"a")
        with SidecarTier(served.url, one) as again:
            assert again.keep_profile(fingerprint, b"a")
        assert tier.profile(fingerprint) == b"a"


def test_a_profile_that_is_another_one_is_missing():
    with lying(answer(b"a")) as url, SidecarTier(url) as tier, pytest.raises(TierUnavailable):
        tier.profile("0" * 64)
    checksum = "a96faf705af16834e6c632b61e964e1f"  # of b"a"
    with lying(answer(b"a", Kvstore_Xxh3=checksum)) as url, SidecarTier(url) as tier:
        with pytest.raises(MissingProfile):
            tier.profile("0" * 64)
        assert tier.profile(sha256(b"a").hexdigest()) == b"a"


# A sidecar that fails.

EVERYTHING = {
    "match": ([key("a")],),
    "get": (key("a"),),
    "peek": (key("a"), 5),
    "put": (frames([key("a")]),),
    "delete": (key("a"),),
    "touch": ([key("a")],),
    "pin": ([key("a")],),
    "entry": (key("a"),),
    "entries": (),
    "where": (key("a"),),
    "quarantine": (key("a"), "because"),
    "rejection": (key("a"),),
    "keep_profile": (sha256(b"a").hexdigest(), b"a"),
    "profile": ("0" * 64,),
    "profiles": (),
}


def require_unavailable(tier):
    for call, arguments in EVERYTHING.items():
        with pytest.raises(TierUnavailable):
            getattr(tier, call)(*arguments)
    with pytest.raises(TierUnavailable):
        tier.size_bytes  # noqa: B018


@pytest.mark.parametrize(("reply", "then"), [(b"", CLOSE), (b"", HANG), (answer(b"{}", "500 Oh"), CLOSE)])
def test_everything_is_unavailable_where_no_sidecar_answers(reply, then):
    with lying(reply, then) as url, SidecarTier(url, timeout_s=0.1) as tier:
        require_unavailable(tier)


def test_everything_is_unavailable_where_nobody_is(tmp_path):
    for url in ("http://127.0.0.1:1", f"unix:{tmp_path}/nothing.sock"):
        with SidecarTier(url) as tier:
            require_unavailable(tier)


def test_frames_that_do_not_come_as_they_were_sent_open_the_breaker():
    metrics, wrong = Metrics(), answer(b"frame", Kvstore_Xxh3="0" * 32)
    with lying(wrong) as url, Tiers([SidecarTier(url)], metrics) as tiers:
        assert [tiers.get(key("a")) for _ in range(6)] == [None] * 6
    counts = metrics.snapshot()
    assert (counts["tier_unavailable"], counts["breakers_opened"], counts["tier_skipped"]) == (3, 1, 3)
    assert counts["chunks_corrupt"] == 0


def test_a_put_that_fails_half_way_says_how_much_is_kept(monkeypatch):
    monkeypatch.setattr(sidecar_tier, "_TOGETHER_BYTES", FRAME_BYTES)
    answers = iter([answer(b'{"stored": 1, "durable": false}', "201 Created")] * 2)
    with lying(lambda _: next(answers, b"")) as url, SidecarTier(url) as tier:
        assert tier.put(frames(prompt("a", 4))) == 2
        with pytest.raises(TierUnavailable):
            tier.put(frames(prompt("a", 4)))


def test_a_closed_tier_is_unavailable(open_tier):
    tier = open_tier()
    tier.match([key("a")])
    tier.close()
    require_unavailable(tier)


def test_a_tier_that_was_never_asked_closes_at_once():
    SidecarTier("http://127.0.0.1:1").close()


def test_closing_ends_what_is_under_way():
    with lying(b"", HANG) as url, ThreadPoolExecutor(3) as threads:
        tier = SidecarTier(url, timeout_s=30.0)
        waiting = [threads.submit(tier.match, [key("a")]) for _ in range(3)]
        time.sleep(0.2)
        tier.close()
        for each in waiting:
            assert isinstance(each.exception(5), TierUnavailable)


def test_a_tier_opened_before_a_fork_is_unavailable_in_the_child(open_tier):
    tier = open_tier()
    tier.put(frames([key("a")]))

    def in_child():
        require_unavailable(tier)
        SidecarTier.close(tier)
        with SidecarTier(tier.served.url) as own:
            return own.match([key("a")])

    assert of_child(in_child) == 1
    assert tier.match([key("a")]) == 1


# What is learned ahead.


def test_the_order_is_that_of_the_last_prompts():
    order, keys, other = PromptOrder(), prompt("a", 5), prompt("b", 2)
    order.note(keys)
    assert order.following(keys[1], 3) == keys[1:4]
    assert order.following(keys[3], 9) == keys[3:]
    assert order.following(other[0], 9) == other[:1]
    order.note([*keys[:2], *other])
    assert order.following(keys[0], 9) == [*keys[:2], *other]


def test_what_was_learned_is_taken_once_and_soon_forgotten():
    now, dropped = [0.0], []
    recent = Recent(3, 2.0, dropped.append, clock=lambda: now[0])
    recent.note((each, name) for each, name in zip(prompt("a", 4), "abcd", strict=True))
    assert dropped == ["a"]
    assert recent.take(prompt("a", 4)[1]) == "b"
    assert recent.take(prompt("a", 4)[1]) is None
    now[0] = 3.0
    assert recent.take(prompt("a", 4)[2]) is None
    assert dropped == ["a", "c", "d"]
    recent.note([(key("e"), "e")])
    recent.clear()
    assert key("e") not in recent
