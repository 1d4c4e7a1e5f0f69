"""FaultyTier: a memory tier that refuses whatever verbs a test names."""

from kvstore import MemoryTier, TierUnavailable
from kvstore.tier import NO_TERMS


class FaultyTier(MemoryTier):
    name = "faulty"

    def __init__(self, capacity_bytes, *refused):
        super().__init__(capacity_bytes)
        self.refused = set(refused)

    def _refuse(self, verb):
        if verb in self.refused:
            raise TierUnavailable(f"a test refuses {verb}")

    def match(self, keys):
        self._refuse("match")
        return super().match(keys)

    def get(self, key):
        self._refuse("get")
        return super().get(key)

    def put(self, entries, prefix=(), terms=NO_TERMS):
        self._refuse("put")
        return super().put(entries, prefix, terms)

    def delete(self, key):
        self._refuse("delete")
        return super().delete(key)

    def touch(self, keys):
        self._refuse("touch")
        super().touch(keys)

    def quarantine(self, key, reason):
        self._refuse("quarantine")
        super().quarantine(key, reason)

    def pin(self, keys, pinned=True):
        self._refuse("pin")
        return super().pin(keys, pinned)

    def entry(self, key):
        self._refuse("entry")
        return super().entry(key)

    def entries(self):
        self._refuse("entries")
        return super().entries()

    @property
    def size_bytes(self):
        self._refuse("size_bytes")
        return super().size_bytes


EVERYTHING = ("match", "get", "put", "delete", "touch", "quarantine", "pin", "entry", "entries", "size_bytes")
