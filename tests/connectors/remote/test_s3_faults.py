"""What S3Store says when the server hangs, is gone or refuses, and of objects that are not ours."""

import asyncio
import time

import obstore
import pytest

from connectors.remote.opening import open_store
from connectors.remote.s3_url import S3Address
from kvstore import TierUnavailable
from tests.connectors.remote.contract import held, value
from tests.connectors.remote.s3_server import KEY, SECRET, s3_server

PATIENCE_S = 10.0


def run(url, check, timeout_s=PATIENCE_S):
    async def inside():
        async with open_store(url, timeout_s) as store:
            await check(store)

    asyncio.run(inside())


def verbs(store):
    """One call of each kind, as yet unmade."""
    return {
        "sizes": lambda: store.sizes(["a", "b"]),
        "get_into": lambda: store.get_into("a", memoryview(bytearray(3000))),
        "peek": lambda: store.peek(["a", "b"], 10),
        "put": lambda: store.put("c", [value("c")]),
        "delete": lambda: store.delete(["a", "b"]),
        "listed": lambda: anext(aiter(store.listed()), None),
        "health": store.health,
    }


async def failures(store):
    """What each kind of call raises: a failure, never a miss."""
    said = {}
    for name, call in verbs(store).items():
        with pytest.raises(TierUnavailable) as failed:
            await call()
        said[name] = str(failed.value)
    return said


def test_a_server_that_hangs_is_a_failure_in_time_and_serves_again_afterwards(s3):
    async def check(store):
        await store.put("a", [value("a")])
        s3.hang()
        try:
            for name, call in verbs(store).items():
                began_s = time.monotonic()
                with pytest.raises(TierUnavailable, match="Timeout"):
                    await call()
                assert time.monotonic() - began_s < 2.0, name
        finally:
            s3.go_on()
        assert await held(store, "a") == value("a")

    run(s3.url(prefix="hangs"), check, timeout_s=0.3)


def test_a_server_that_is_gone_is_a_failure(tmp_path):
    with s3_server(tmp_path) as server:

        async def check(store):
            await store.put("a", [value("a")])
            server.kill()
            assert set((await failures(store)).values()) == {f"{store.url}: Connect"}

        run(server.url(), check)


def test_a_bucket_that_is_not_there_is_a_failure_and_not_a_miss(s3):
    async def check(store):
        assert set((await failures(store)).values()) == {f"{store.url}: NoSuchBucket"}

    run(s3.url("nobodys"), check)


def test_a_bucket_that_is_removed_is_a_failure_from_then_on(s3):
    async def check(store):
        await store.put("a", [value("a")])
        s3.remove_bucket("removed")
        assert set((await failures(store)).values()) == {f"{store.url}: NoSuchBucket"}

    s3.make_bucket("removed")
    run(s3.url("removed"), check)


def test_wrong_credentials_are_a_failure_that_repeats_none(s3):
    async def check(store):
        for said in (await failures(store)).values():
            assert "SignatureDoesNotMatch" in said or said.endswith(": 403"), "an answer to HEAD has no body"
            assert "another" not in said
            assert KEY not in said

    run(s3.url(secret="another secret"), check)


def test_credentials_and_endpoint_may_come_from_the_environment(s3, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)

    async def check(store):
        assert await store.put("a", [value("a")])
        assert await held(store, "a") == value("a")

    run("s3://frames/environment?allow_http=true", check)


def test_a_value_in_parts_is_there_in_whole_or_not_at_all(s3):
    large = value("large", 20_000_003)

    async def check(store):
        assert await store.put("large", [large[:5], memoryview(large)[5:]])
        assert not await store.put("large", [value("another", 9_000_000)])
        assert await held(store, "large") == large
        assert not await store.get_into("large", memoryview(bytearray(len(large) - 1)))
        assert not await store.get_into("large", memoryview(bytearray(3 * len(large))))
        both = await asyncio.gather(*(store.put("raced", [value(each, 9_000_000)]) for each in range(2)))
        assert any(both)
        assert await held(store, "raced") in [value(each, 9_000_000) for each in range(2)]

    url = s3.url(prefix="parts")
    run(url, check)
    pages = obstore.list(S3Address.of(url).client(PATIENCE_S))
    assert sorted(each["path"] for page in pages for each in page) == ["large", "raced"]


def test_an_empty_object_is_no_value(s3):
    url = s3.url(prefix="empty")
    obstore.put(S3Address.of(url).client(PATIENCE_S), "a", b"")

    async def check(store):
        await store.put("b", [value("b")])
        assert await store.sizes(["a", "b"]) == []
        assert await store.sizes(["b", "a"]) == [3000]
        assert await store.peek(["a", "b"], 4) == [None, value("b")[:4]]
        assert not await store.get_into("a", memoryview(bytearray(5)))

    run(url, check)


def test_more_keys_than_are_asked_for_at_once(s3):
    keys = [f"{number:03}" for number in range(300)]

    async def check(store):
        await asyncio.gather(*(store.put(key, [b"x" * (1 + number)]) for number, key in enumerate(keys)))
        assert await store.sizes(keys) == list(range(1, 301))
        await store.delete(keys[256:257])
        assert await store.sizes(keys) == list(range(1, 257))
        assert [each is not None for each in await store.peek(keys, 1)] == [key != "256" for key in keys]

    run(s3.url(prefix="many"), check)
