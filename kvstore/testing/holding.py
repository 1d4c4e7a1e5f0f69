"""What every tier promises of the frames it holds, whether it keeps a budget or others put and drop there too."""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from xxhash import xxh3_128_digest

from kvstore.testing.made_up import FRAME_BYTES, frame, frames, held, key, prompt
from kvstore.tier import NO_TERMS, Terms, Tier


class HoldingContract(ABC):
    """Of any tier. `copies` is how often it may count one frame."""

    copies = 1

    @abstractmethod
    def roomy(self, tmp_path: Path) -> Tier:
        """A new, empty tier with room for all that a test puts; `tmp_path` is its own."""

    def test_what_was_put_comes_back_byte_for_byte(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            for size in (1, 31, 4095, 4096, 4097, 100_000):
                this = key(str(size))
                assert tier.put([(this, frame(this, size))]) == 1
                assert held(tier, this) == frame(this, size)

    def test_any_kind_of_bytes_can_be_put(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            whole = frame(key("a"), 300)
            for kind in (whole, bytearray(whole), memoryview(whole), memoryview(bytearray(whole))[:]):
                tier.delete(key("a"))
                assert tier.put([(key("a"), kind)]) == 1
                assert held(tier, key("a")) == whole

    def test_a_returned_frame_is_read_only(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            tier.put([(key("a"), bytearray(frame(key("a"))))])
            view = tier.get(key("a"))
            assert view is not None
            assert view.readonly

    def test_an_unknown_key_is_a_miss(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            tier.put(frames([key("a")]))
            assert tier.get(key("b")) is None
            assert tier.where(key("b")) is None

    def test_match_counts_leading_keys_only(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            keys = prompt("a", 5)
            tier.put(frames(keys[:2]) + frames(keys[3:]))
            assert tier.match(keys) == 2
            assert tier.match(keys[3:]) == 2
            assert tier.match(keys[2:]) == 0
            assert tier.match([]) == 0

    def test_putting_nothing_changes_nothing(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            assert tier.put([]) == 0
            assert list(tier.entries()) == []

    def test_size_is_the_sum_of_what_is_held(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            assert tier.size_bytes == 0
            tier.put(frames(prompt("a", 3), 700))
            assert tier.size_bytes == self.copies * 3 * 700
            tier.delete(prompt("a", 3)[1])
            assert tier.size_bytes == self.copies * 2 * 700

    def test_a_view_survives_deletion(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            keys = prompt("a", 3)
            tier.put(frames(keys))
            views = [tier.get(each) for each in keys]
            tier.delete_all(keys)
            assert tier.match(keys) == 0
            assert [bytes(view) for view in views if view is not None] == [frame(each) for each in keys]

    def test_many_are_deleted_at_once_and_counted(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            keys = prompt("a", 4)
            tier.put(frames(keys))
            assert tier.delete_all([keys[3], key("never put"), keys[2]]) == 2
            assert tier.match(keys) == 2
            assert {entry.key for entry in tier.entries()} == set(keys[:2])

    def test_delete_forgets_and_says_whether_there_was_anything(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            keys = prompt("a", 3)
            tier.put(frames(keys))
            assert tier.delete(keys[1])
            assert not tier.delete(keys[1])
            assert tier.get(keys[1]) is None
            assert tier.match(keys) == 1

    def test_a_quarantined_frame_is_out_of_service(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            keys = prompt("a", 3)
            tier.put(frames(keys))
            tier.quarantine(keys[1], "a test says so")
            tier.quarantine(key("unknown"), "never held")
            assert tier.get(keys[1]) is None
            assert tier.match(keys) == 1

    def test_entries_lists_every_frame_once(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            keys = prompt("a", 4)
            tier.put(frames(keys))
            tier.put(frames(keys[:2]))
            assert sorted(entry.key for entry in tier.entries()) == sorted(keys)
            assert all(entry.size_bytes == FRAME_BYTES for entry in tier.entries())

    def test_an_entry_says_whose_a_frame_is_and_what_stands_before_it(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            keys, terms = prompt("a", 3), Terms("Ünal & Söhne", time.time() + 1000)
            tier.put(frames(keys[:1]))
            tier.put(frames(keys[1:]), keys[:1], terms)
            entries = [tier.entry(each) for each in keys]
            assert [entry and (entry.terms, entry.parent) for entry in entries] == [
                (NO_TERMS, None),
                (terms, keys[0]),
                (terms, keys[1]),
            ]
            assert {entry.key: entry for entry in tier.entries()} == dict(zip(keys, entries, strict=True))
            assert tier.entry(key("unknown")) is None

    def test_a_frame_whose_time_is_up_is_not_held(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            keys = prompt("a", 3)
            tier.put(frames(keys[:1]))
            tier.put(frames(keys[1:2]), keys[:1], Terms(expires_at_s=time.time() - 1))
            tier.put(frames(keys[2:]), keys[:2], Terms(expires_at_s=time.time() + 1000))
            assert [tier.get(each) is not None for each in keys] == [True, False, True]
            assert tier.match(keys) == 1
            assert tier.entry(keys[1]) is None
            assert {entry.key for entry in tier.entries()} == {keys[0], keys[2]}
            tier.touch(keys)
            assert tier.put(frames(keys[1:2]), keys[:1]) == 1
            assert tier.match(keys) == 3

    def test_a_place_in_a_file_has_exactly_the_frame_and_its_checksum(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            sizes = dict(zip(prompt("a", 4), (1, 4095, 4097, 100_000), strict=True))
            tier.put([(each, frame(each, size)) for each, size in sizes.items()])
            for each, size in sizes.items():
                if (place := tier.in_file(each)) is not None:
                    with place.path.open("rb") as file:
                        file.seek(place.offset)
                        content = file.read(place.size_bytes)
                    assert content == frame(each, size)
                    assert place.xxh3 == xxh3_128_digest(content)

    def test_what_is_not_held_lies_in_no_file(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            keys = prompt("a", 3)
            tier.put(frames(keys[:2]))
            tier.put(frames(keys[2:]), keys[:2], Terms(expires_at_s=time.time() - 1))
            tier.delete(keys[0])
            tier.quarantine(keys[1], "a test says so")
            assert [tier.in_file(each) for each in (*keys, key("unknown"))] == [None] * 4

    def test_threads_never_see_another_frame(self, tmp_path: Path) -> None:
        with self.roomy(tmp_path) as tier:
            hammered(tier)

    def test_a_profile_it_keeps_comes_back(self, tmp_path: Path) -> None:
        content = frame(key("a profile"))
        fingerprint = sha256(content).hexdigest()
        with self.roomy(tmp_path) as tier:
            assert tier.profile(fingerprint) is None
            assert tier.profiles() == []
            if tier.keep_profile(fingerprint, content) and tier.keep_profile(fingerprint, content):
                assert tier.profile(fingerprint) == content
                assert tier.profiles() == [fingerprint]
            assert tier.profile("../writer.lock") is None
            assert list(tier.entries()) == []

    def test_closing_twice_is_safe(self, tmp_path: Path) -> None:
        tier = self.roomy(tmp_path)
        tier.put(frames([key("a")]))
        tier.close()
        tier.close()


def hammered(tier: Tier) -> None:
    """Has threads put, get, touch and delete the same frames; none sees what was not put under its key."""
    keys = prompt("a", 12)

    def hammer(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(60):
            some = choose.sample(keys, 3)
            match choose.randrange(5):
                case 0 | 1:
                    tier.put([(each, frame(each, version=choose.randrange(2))) for each in some])
                case 2:
                    tier.delete(some[0])
                case 3:
                    tier.touch(some)
            for each in some:
                assert held(tier, each) in (None, frame(each), frame(each, version=1))
            assert 0 <= tier.match(some) <= 3
            assert all(entry.size_bytes == FRAME_BYTES for entry in tier.entries())

    with ThreadPoolExecutor(4) as threads:
        for finished in [threads.submit(hammer, seed) for seed in range(4)]:
            finished.result()
    matched = [each for each in keys if tier.match([each])]
    assert sorted(matched) == sorted(entry.key for entry in tier.entries())
