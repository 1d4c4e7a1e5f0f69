"""What MooncakeStore says when a node hangs, when the master is gone, and when the store is full."""

import asyncio
import time
from contextlib import suppress

import pytest

from connectors.remote.mooncake_url import MooncakeAddress
from connectors.remote.opening import open_store
from kvstore import InvalidRequest, TierUnavailable
from tests.connectors.remote.contract import held, value
from tests.connectors.remote.mooncake_servers import mooncake, require_mooncake
from tests.connectors.remote.redis_servers import free_ports

MANY = 20  # more than there are threads


def run(url, check, timeout_s):
    async def inside():
        async with open_store(url, timeout_s) as store:
            await check(store)

    asyncio.run(inside())


async def fails_in_time(call, timeout_s):
    began_s = time.monotonic()
    with pytest.raises(TierUnavailable):
        await call()
    assert time.monotonic() - began_s < timeout_s


def test_nodes_that_hang_are_failures_in_time_however_many_ask(tmp_path):
    with mooncake(tmp_path) as server:

        async def check(store):
            await store.put("a", [value("a")])
            server.hang()
            try:
                buffer = bytearray(3000)
                calls = (fails_in_time(lambda: store.get_into("a", memoryview(buffer)), 2.0) for _ in range(MANY))
                await asyncio.gather(*calls)
                await fails_in_time(lambda: store.get_into("a", memoryview(buffer)), 2.0)
            finally:
                server.go_on()
            await asyncio.sleep(1.0)
            assert buffer == bytes(3000)  # what was given up writes to nobody
            assert await store.put("b", [value("b")])
            assert await held(store, "b") == value("b")

        run(server.url(), check, timeout_s=0.5)


def test_a_master_that_is_gone_is_a_failure_and_not_a_miss(tmp_path):
    with mooncake(tmp_path) as server:

        async def check(store):
            await store.put("a", [value("a")])
            server.master.kill()
            server.master.wait()
            for call in (
                lambda: store.sizes(["a"]),
                lambda: store.get_into("a", memoryview(bytearray(3000))),
                lambda: store.peek(["a"], 10),
                lambda: store.put("b", [value("b")]),
                lambda: store.delete(["a"]),
                lambda: anext(aiter(store.listed()), None),
                store.health,
            ):
                await fails_in_time(call, 2.0)

        run(server.url(), check, timeout_s=0.5)


def test_nobody_at_the_address_is_a_failure_at_once():
    require_mooncake()

    async def check(store):
        await fails_in_time(lambda: store.sizes(["a"]), 1.0)

    run(f"mooncake://127.0.0.1:{free_ports(1)[0]}", check, timeout_s=5.0)


def test_a_full_store_forgets_and_what_it_has_is_right(tmp_path):
    keys = [f"{number:02}" for number in range(48)]

    async def check(store):
        for key in keys:
            with suppress(TierUnavailable):  # room is made beside what is asked: one that comes too soon is refused
                await store.put(key, [value(key, 1 << 20)])
        found = [await held(store, key) for key in keys]
        assert None in found
        assert all(each in (None, value(key, 1 << 20)) for key, each in zip(keys, found, strict=True))
        assert any(found)

    with mooncake(tmp_path, capacity_bytes=32 << 20) as server:
        run(server.url(), check, timeout_s=10.0)


@pytest.mark.parametrize(
    "url",
    [
        "mooncake://",
        "mooncake://host:port",
        "mooncake://host/path",
        "mooncake://user:secret@host",
        "mooncake://host?secret=1",
        "mooncake://host?namespace=a:b",
        "mooncake://host?admin_port=none",
    ],
)
def test_another_form_of_url_is_refused(url):
    with pytest.raises(InvalidRequest, match="mooncake://HOST") as refused:
        MooncakeAddress.of(url)
    assert "secret" not in str(refused.value)


def test_a_url_is_shown_as_it_can_be_given_again():
    address = MooncakeAddress.of("mooncake://[::1]:7?namespace=n")
    assert address.shown == "mooncake://[::1]:7?namespace=n"
    assert MooncakeAddress.of(address.shown) == address
    assert MooncakeAddress.of("mooncake://host").master == "host:50051"
