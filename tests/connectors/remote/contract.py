"""What every RemoteStore promises: inherit it, and say how to open yours."""

import asyncio
import random
from abc import ABC, abstractmethod
from hashlib import sha256
from itertools import count

import pytest

from connectors.remote.store import RemoteStore

SIZES = (1, 100, 65_536, 1_000_003)
_numbers = count()


def value(name, num_bytes=3000):
    """Bytes of that name and length, and of no other."""
    return random.Random(f"{name} {num_bytes}").randbytes(num_bytes)


async def held(store, key):
    """A copy of what is stored under the key, in one way; None when nothing is."""
    sizes = await store.sizes([key])
    buffer = bytearray(sizes[0] if sizes else 0)
    return bytes(buffer) if sizes and await store.get_into(key, memoryview(buffer)) else None


class RemoteStoreContract(ABC):
    @abstractmethod
    def open(self, namespace: str) -> RemoteStore:
        """Of that namespace, on the same server every time."""

    def namespace(self) -> str:
        """One that nobody has used."""
        return f"test-{next(_numbers)}-{random.SystemRandom().randrange(1 << 40):x}"

    def run(self, check):
        """In a loop of its own, against an empty store."""

        async def inside():
            async with self.open(self.namespace()) as store:
                await check(store)

        asyncio.run(inside())

    def test_what_was_put_comes_back_byte_for_byte(self):
        async def check(store):
            for size in SIZES:
                assert await store.put(f"frames/{size}", [value(size, size)])
                assert await held(store, f"frames/{size}") == value(size, size)

        self.run(check)

    def test_parts_are_stored_back_to_back_whatever_bytes_they_are(self):
        async def check(store):
            whole = value("a")
            parts = [whole[:10], bytearray(whole[10:20]), memoryview(whole)[20:], memoryview(bytearray(b""))]
            assert await store.put("a", parts)
            assert await held(store, "a") == whole

        self.run(check)

    def test_what_is_not_there_is_a_miss(self):
        async def check(store):
            assert await store.put("a", [value("a")])
            assert await store.sizes(["b"]) == []
            assert not await store.get_into("b", memoryview(bytearray(3000)))
            assert await store.peek(["b", "a"], 5) == [None, value("a")[:5]]

        self.run(check)

    def test_a_value_of_another_length_than_the_buffer_is_a_miss(self):
        async def check(store):
            await store.put("a", [value("a")])
            for size in (1, 2999, 3001, 100_000):
                assert not await store.get_into("a", memoryview(bytearray(size)))
            assert await held(store, "a") == value("a")

        self.run(check)

    def test_a_buffer_is_filled_and_nothing_beside_it(self):
        async def check(store):
            await store.put("a", [value("a")])
            room = bytearray(4000)
            assert await store.get_into("a", memoryview(room)[500:3500])
            assert room == bytes(500) + value("a") + bytes(500)

        self.run(check)

    def test_sizes_are_of_the_leading_values_only(self):
        async def check(store):
            for size in (10, 20, 40):
                await store.put(str(size), [value(size, size)])
            assert await store.sizes(["10", "20", "30", "40"]) == [10, 20]
            assert await store.sizes(["30", "10"]) == []
            assert await store.sizes([]) == []
            many = [f"many/{number}" for number in range(70)]
            for number, key in enumerate(many):
                await store.put(key, [value(key, number + 1)])
            assert await store.sizes([*many, "30"]) == list(range(1, 71))

        self.run(check)

    def test_a_peek_gives_the_first_bytes_of_each(self):
        async def check(store):
            await store.put("short", [b"abc"])
            await store.put("long", [value("long", 300_000)])
            assert await store.peek(["long", "missing", "short"], 4096) == [value("long", 300_000)[:4096], None, b"abc"]
            assert await store.peek([], 5) == []

        self.run(check)

    def test_a_put_never_replaces(self):
        async def check(store):
            assert await store.put("a", [value("a")])
            assert not await store.put("a", [value("another")])
            assert await held(store, "a") == value("a")
            await store.delete(["a"])
            assert await store.put("a", [value("another")])
            assert await held(store, "a") == value("another")

        self.run(check)

    def test_of_many_that_put_one_key_at_once_one_does(self):
        async def check(store):
            values = [value(number, 50_000) for number in range(8)]
            stored = await asyncio.gather(*(store.put("a", [each]) for each in values))
            assert stored.count(True) == 1
            assert await held(store, "a") == values[stored.index(True)]

        self.run(check)

    def test_a_delete_forgets_what_is_there_and_minds_nothing_else(self):
        async def check(store):
            for key in "abc":
                await store.put(key, [value(key)])
            await store.delete(["a", "never put", "c"])
            await store.delete([])
            assert [await held(store, key) for key in "abc"] == [None, value("b"), None]

        self.run(check)

    def test_listed_are_all_values_with_their_sizes_once(self):
        async def check(store):
            sizes = {f"frames/{number:03}": number + 1 for number in range(300)}
            await asyncio.gather(*(store.put(key, [value(key, size)]) for key, size in sizes.items()))
            await store.put("profiles/a", [b"a profile"])
            assert [(each.key, each.size_bytes) async for each in store.listed("profiles/")] == [("profiles/a", 9)]
            listed = [(each.key, each.size_bytes) async for each in store.listed("frames/")]
            assert sorted(listed) == sorted(sizes.items())
            assert len([each async for each in store.listed()]) == 301

        self.run(check)

    def test_namespaces_know_nothing_of_each_other(self):
        async def check():
            name = self.namespace()
            names = [name, f"{name}x", f"{name}-x", name[:-1]]
            stores = [self.open(each) for each in names]
            for number, store in enumerate(stores):
                assert await store.sizes(["a"]) == []
                assert await store.put("a", [value(number)])
            for number, store in enumerate(stores):
                assert [each.key async for each in store.listed()] == ["a"]
                assert await held(store, "a") == value(number)
            for store in stores:
                await store.delete(["a"])
                await store.aclose()

        asyncio.run(check())

    def test_another_that_opens_the_namespace_finds_the_values(self):
        async def check():
            name = self.namespace()
            first, second = self.open(name), self.open(name)
            assert await first.put("a", [value("a")])
            assert await held(second, "a") == value("a")
            await first.aclose()
            assert await held(second, "a") == value("a")
            await second.aclose()

        asyncio.run(check())

    def test_a_value_is_dropped_when_its_time_is_up(self):
        async def check(store):
            if not store.caps.expires:
                pytest.skip("the engine drops nothing by itself")
            await store.put("brief", [value("brief")], ttl_s=0.3)
            await store.put("long", [value("long")], ttl_s=1000.0)
            assert await store.sizes(["brief"]) == [3000]
            await asyncio.sleep(0.5)
            assert await store.sizes(["brief"]) == []
            assert await held(store, "brief") is None
            assert [each.key async for each in store.listed()] == ["long"]
            assert await store.put("brief", [value("again")])

        self.run(check)

    def test_calls_that_are_cancelled_do_later_ones_no_harm(self):
        async def check(store):
            keys, choose = [f"frames/{number}" for number in range(4)], random.Random(1)
            for key in keys:
                await store.put(key, [value(key, 300_000)])
            for _ in range(20):
                under_way = [asyncio.create_task(held(store, key)) for key in keys]
                await asyncio.sleep(choose.uniform(0, 0.003))
                for task in under_way:
                    task.cancel()
                await asyncio.gather(*under_way, return_exceptions=True)
                key = choose.choice(keys)
                assert await held(store, key) == value(key, 300_000)

        self.run(check)

    def test_many_at_once_get_each_its_own(self):
        async def check(store):
            keys = [f"frames/{sha256(bytes([number])).hexdigest()}" for number in range(24)]
            await asyncio.gather(*(store.put(key, [value(key, 100_000)]) for key in keys))
            for _ in range(3):
                found = await asyncio.gather(*(held(store, key) for key in keys))
                assert found == [value(key, 100_000) for key in keys]

        self.run(check)

    def test_it_says_how_it_is(self):
        async def check(store):
            assert (await store.health()).version
            assert store.url

        self.run(check)

    def test_closing_twice_is_safe(self):
        async def check(store):
            await store.put("a", [value("a")])
            await store.aclose()

        self.run(check)
