"""IndexChange: one transaction of a disk index, which is also the ledger: what is held, and who must go for whom."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from kvstore import index_rows as rows
from kvstore.index_rows import EVERYBODY, Located, tag
from kvstore.key import ChunkKey
from kvstore.lmdb_env import LmdbEnvironment, Transaction
from kvstore.segments import Place
from kvstore.tier import Entry

_MAX_QUARANTINED = 1000


@dataclass(frozen=True)
class Budget:
    """Bytes of frames, of their records, and of frames by tenant, that may be held.

    Unless it `evicts`, nothing goes to make room but what has expired.
    """

    capacity_bytes: int
    record_bytes: int
    quotas: Mapping[str, int]
    evicts: bool = True

    def quota_of(self, tenant: str) -> int:
        return self.quotas.get(tenant, self.capacity_bytes)


class IndexChange:
    """Sees what it did itself. What others see of it, all or nothing, comes with the commit after `finish`.

    `order` has exactly those chunks that may go: a parent of what is held enters it with its last child gone.
    """

    def __init__(self, transaction: Transaction, env: LmdbEnvironment) -> None:
        self._transaction, self._tables = transaction, env.tables
        self._sums: dict[tuple[bytes, bytes], list[int]] = {}  # pairs of `totals` and `segments`, as they are now
        self._read: dict[tuple[bytes, bytes], list[int]] = {}  # as the transaction found them
        self.evicted = 0

    def finish(self) -> None:
        """Writes the sums, which are kept in memory until then."""
        for (table, key), pair in self._sums.items():
            if pair != self._read.get((table, key)):
                self._put(table, key, rows.PAIR.pack(*(max(number, 0) for number in pair)))

    def emptied(self) -> list[int]:
        """Segments with which this change has left nothing alive."""
        return [
            rows.NUMBER.unpack(key)[0]
            for (table, key), (_, live) in self._sums.items()
            if table == b"segments" and not live
        ]

    def _get(self, table: bytes, key: bytes) -> bytes | None:
        value = self._transaction.get(key, db=self._tables[table])
        return None if value is None else bytes(value)

    def _put(self, table: bytes, key: bytes, value: bytes) -> None:
        self._transaction.put(key, value, db=self._tables[table])

    def _delete(self, table: bytes, key: bytes) -> None:
        self._transaction.delete(key, db=self._tables[table])

    def _pair(self, table: bytes, key: bytes) -> list[int]:
        if (table, key) not in self._sums:
            row = self._get(table, key)
            self._sums[table, key] = list(rows.PAIR.unpack(row)) if row else [0, 0]
            if row:
                self._read[table, key] = list(self._sums[table, key])
        return self._sums[table, key]

    def _total(self, of: bytes) -> list[int]:
        return self._pair(b"totals", of)

    def _segment(self, segment: int) -> list[int]:
        return self._pair(b"segments", rows.NUMBER.pack(segment))

    def find(self, key: ChunkKey) -> Located | None:
        """Whether its time is up or not."""
        row = self._get(b"chunks", key.digest)
        return None if row is None else rows.unpack_chunk(key, row)

    def add(self, located: Located) -> None:
        """Holds a chunk, in place of one under the same key. The caller has made room."""
        self.drop(located.entry.key)
        self._put(b"chunks", located.entry.key.digest, rows.pack_chunk(located))
        self._delete(b"quarantine", located.entry.key.digest)
        if (at := rows.expiry_key(located.entry)) is not None:
            self._put(b"expiry", at, b"")
        self._count_child(located.entry.parent, +1)
        self._let_go_if_possible(located.entry)
        self._weigh(located, +1)
        known = self._segment(located.place.segment)
        known[0] = max(known[0], located.place.offset + located.record_bytes)

    def drop(self, key: ChunkKey) -> Located | None:
        """Forgets a chunk and returns what it was."""
        located = self.find(key)
        if located is None:
            return None
        self._keep(located.entry)
        self._delete(b"chunks", key.digest)
        if (at := rows.expiry_key(located.entry)) is not None:
            self._delete(b"expiry", at)
        self._count_child(located.entry.parent, -1)
        self._weigh(located, -1)
        return located

    def update(self, old: Located, entry: Entry) -> None:
        """Of a chunk that is held: its times, hits and pin."""
        self._keep(old.entry)
        self._put(b"chunks", entry.key.digest, rows.pack_chunk(replace(old, entry=entry)))
        self._let_go_if_possible(entry)

    def pin(self, keys: Sequence[ChunkKey], pinned: bool, now_s: float) -> int:
        """Of the leading keys that are held; returns how many those are."""
        for index, key in enumerate(keys):
            held = self.find(key)
            if held is None or held.entry.terms.expires_at_s <= now_s:
                return index
            self.update(held, replace(held.entry, pinned=pinned))
        return len(keys)

    def move(self, old: Located, place: Place) -> None:
        """Its record has been copied there."""
        self._put(b"chunks", old.entry.key.digest, rows.pack_chunk(replace(old, place=place)))
        self._segment(old.place.segment)[1] -= old.record_bytes
        new = self._segment(place.segment)
        new[0], new[1] = max(new[0], place.offset + old.record_bytes), new[1] + old.record_bytes

    def quarantine(self, key: ChunkKey, reason: str) -> Located | None:
        """Drops a chunk and remembers why, for the first thousand of them."""
        located = self.drop(key)
        if self._transaction.stat(self._tables[b"quarantine"])["entries"] < _MAX_QUARANTINED:
            self._put(b"quarantine", key.digest, json.dumps({"reason": reason, "at_s": time.time()}).encode())
        return located

    def drop_segment(self, segment: int) -> None:
        """The file is gone, or about to go, with no live record in it."""
        self._sums.pop((b"segments", rows.NUMBER.pack(segment)), None)
        self._delete(b"segments", rows.NUMBER.pack(segment))

    def know(self, segment: int, num_bytes: int) -> None:
        """That many bytes from a segment's start have been taken in."""
        known = self._segment(segment)
        known[0] = max(known[0], num_bytes)

    def make_room(
        self, budget: Budget, entry_bytes: int, record_bytes: int, tenant: str, keep: Collection[ChunkKey], now_s: float
    ) -> bool:
        """Drops chunks, never one of `keep`, until a frame of a tenant fits; False when it cannot.

        What has expired goes first. A tenant at its quota makes room for itself, whoever used what.
        """
        if entry_bytes > min(budget.capacity_bytes, budget.quota_of(tenant)):
            return False
        while not self._within_quota(budget, entry_bytes, tenant):
            if not self._drop_next(budget, tag(tenant), keep, now_s):
                return False
        while not self._within_capacity(budget, entry_bytes, record_bytes):
            if not self._drop_next(budget, EVERYBODY, keep, now_s):
                return False
        return True

    def shrink(self, budget: Budget, now_s: float, at_most: int) -> int:
        """Drops up to that many chunks while more are held than may be; returns how many went."""
        count = 0
        while (
            count < at_most
            and not self._within_capacity(budget, 0, 0)
            and self._drop_next(budget, EVERYBODY, (), now_s)
        ):
            count += 1
        return count

    def _drop_next(self, budget: Budget, of: bytes, keep: Collection[ChunkKey], now_s: float) -> bool:
        if self.drop_expired(now_s, at_most=1):
            return True
        victim = self._next_to_go(of, keep) if budget.evicts else None
        if victim is None:
            return False
        if self.drop(rows.key_in_order(victim)) is None:
            self._delete(b"order", victim)
        else:
            self.evicted += 1
        return True

    def _within_capacity(self, budget: Budget, entry_bytes: int, record_bytes: int) -> bool:
        frames, records = self._total(EVERYBODY)
        return frames + entry_bytes <= budget.capacity_bytes and records + record_bytes <= budget.record_bytes

    def _within_quota(self, budget: Budget, entry_bytes: int, tenant: str) -> bool:
        return self._total(tag(tenant))[0] + entry_bytes <= budget.quota_of(tenant)

    def drop_expired(self, now_s: float, at_most: int) -> int:
        """Drops what expired first, and returns how many chunks that was."""
        for count in range(at_most):
            with self._transaction.cursor(self._tables[b"expiry"]) as cursor:
                first = bytes(cursor.key()) if cursor.first() else None
            if first is None:
                return count
            at_s, key = rows.unpack_expiry(first)
            if at_s > now_s:
                return count
            if self.drop(key) is None:
                self._delete(b"expiry", first)
        return at_most

    def _next_to_go(self, of: bytes, keep: Collection[ChunkKey]) -> bytes | None:
        """The key in `order`, under the tag `of`, of the chunk that goes next."""
        with self._transaction.cursor(self._tables[b"order"]) as cursor:
            if cursor.set_range(of):
                for order_key in map(bytes, cursor.iternext(values=False)):
                    if not order_key.startswith(of):
                        break
                    if rows.key_in_order(order_key) not in keep:
                        return order_key
        return None

    def _count_child(self, parent: ChunkKey | None, step: int) -> None:
        if parent is None:
            return
        count = self._num_children(parent) + step
        if count > 0:
            self._put(b"children", parent.digest, rows.COUNT.pack(count))
        else:
            self._delete(b"children", parent.digest)
        if count <= 1 and (held := self.find(parent)) is not None:  # its first child came, or its last one went
            self._keep(held.entry) if count == 1 else self._let_go_if_possible(held.entry)

    def _num_children(self, key: ChunkKey) -> int:
        row = self._get(b"children", key.digest)
        count: int = rows.COUNT.unpack(row)[0] if row else 0
        return count

    def _let_go_if_possible(self, entry: Entry) -> None:
        if not entry.pinned and not self._num_children(entry.key):
            for order_key in rows.order_keys(entry):
                self._put(b"order", order_key, b"")

    def _keep(self, entry: Entry) -> None:
        for order_key in rows.order_keys(entry):
            self._delete(b"order", order_key)

    def _weigh(self, located: Located, sign: int) -> None:
        for of in (EVERYBODY, tag(located.entry.terms.tenant)):
            total = self._total(of)
            total[0] += sign * located.entry.size_bytes
            total[1] += sign * located.record_bytes
        self._segment(located.place.segment)[1] += sign * located.record_bytes
