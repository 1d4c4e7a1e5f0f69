"""The same store against the same dict, while its files are damaged and vanish and its clock goes back."""

import shutil
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.kvstore.test_store_machine import StoreAgainstADict, kv_of, prompts, tenants

places = st.integers(0, 10**7)


def flipped(content, bit):
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    return content


DAMAGE = {
    "a bit flipped": flipped,
    "cut short": lambda content, place: content[: place % len(content)],
    "a page of zeros": lambda content, place: content[:place] + bytes(4096) + content[place + 4096 :],
    "lengthened": lambda content, place: content + content[: 1 + place % 10_000],
}


class DamagedStoreAgainstADict(StoreAgainstADict):
    def __init__(self):
        super().__init__()
        self.now_s = 1.7e9

    def clock(self):
        return self.now_s

    @rule(seconds=st.sampled_from([-1e9, -3600, -1, 0.5, 3600, 1e9]))
    def the_clock_jumps(self, seconds):
        self.now_s += seconds

    @rule(
        room=st.sampled_from(["segments", "index"]),
        damage=st.sampled_from([*DAMAGE, "gone"]),
        file=places,
        place=places,
    )
    def a_file_is_damaged_while_the_store_is_closed(self, room, damage, file, place):
        self.store.close()
        files = sorted(path for path in Path(self.path, room).iterdir() if path.stat().st_size)
        if files:
            path = files[file % len(files)]
            if damage == "gone":
                path.unlink()
            else:
                path.write_bytes(DAMAGE[damage](bytearray(path.read_bytes()), place))
        self.store = None
        self.reopen()

    @rule(tenant=tenants, token_ids=prompts)
    def the_directory_vanishes_while_the_store_is_open(self, tenant, token_ids):
        shutil.rmtree(self.path)
        self.match_and_load(tenant, token_ids)
        self.store.save(self.identity(tenant), token_ids, kv_of(tenant, token_ids))
        self.saved |= {(tenant, tuple(token_ids[:end])) for end in range(3, len(token_ids) + 1, 3)}
        self.match_and_load(tenant, token_ids)
        self.reopen()


DamagedStoreAgainstADict.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestDamagedStoreAgainstADict = DamagedStoreAgainstADict.TestCase
