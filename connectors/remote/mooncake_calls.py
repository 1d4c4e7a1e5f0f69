"""What is asked of Mooncake's client, each call waiting for its answer: codes become values, misses and failures.

The one place that knows them (`mooncake-store/include/types.h`). Never `get`, whose empty answer may mean anything.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from mooncake.store import MooncakeDistributedStore as Client

from connectors.remote.store import Buffer
from kvstore import TierUnavailable

_INVALID, _NOT_COMPLETE, _NOT_FOUND, _EXISTS = -600, -703, -704, -705
_MISSES = (_NOT_COMPLETE, _NOT_FOUND)
_LOCAL_BYTES = 16 << 20  # which the client sets aside; values never lie there


def connected(local_host: str, master: str) -> Client:
    """One that lends the store no memory. Tries for a minute and a half where there is no master."""
    client = Client()
    _sound(client.setup(local_host, "P2PHANDSHAKE", 0, _LOCAL_BYTES, "tcp", "", master))
    return client


def sizes(client: Client, names: Sequence[str]) -> list[int]:
    """Bytes of each value, 0 where it is not there, or on a storage node's disk alone.

    Asks the master which are there, then where these are: asked for others, the client complains of each to stderr.
    """
    codes = client.batch_is_exist(list(names))
    there = [name for name, code in zip(names, codes, strict=True) if _sound(code)]
    places: Mapping[str, Sequence[Any]] = client.batch_get_replica_desc(there) if there else {}
    if gone := [name for name in there if name not in places]:  # removed meanwhile, unless the master is gone
        for code in client.batch_is_exist(gone):
            _sound(code)
    return [_size(places.get(name, ())) for name in names]


def _size(replicas: Sequence[Any]) -> int:
    in_memory = (each.get_memory_descriptor() for each in replicas if each.is_memory_replica())
    return next((int(each.buffer_descriptor.size) for each in in_memory), 0)


def read(client: Client, name: str, num_bytes: int) -> bytearray | None:
    """The value, in memory of its own; None when it is not there, or of another length."""
    room = bytearray(num_bytes)
    code = client.get_into(name, _address(room), num_bytes)
    return room if code not in (_INVALID, *_MISSES) and _sound(code) == num_bytes else None  # invalid: too long


def first_bytes(client: Client, names: Sequence[str], num_bytes: int) -> list[bytes | None]:
    """Of each value at most so many; None where it is not there."""
    wanted = {name: min(size, num_bytes) for name, size in zip(names, sizes(client, names), strict=True) if size}
    if not wanted:
        return [None] * len(names)
    starts = dict(zip(wanted, accumulate(wanted.values(), initial=0), strict=False))
    room = bytearray(sum(wanted.values()))
    _sound(client.register_buffer(_address(room), len(room)))
    try:
        from_start, into = [[[0] for _ in wanted]], [[[starts[name]] for name in wanted]]
        lengths = [[[size] for size in wanted.values()]]
        [codes] = client.get_into_ranges([_address(room)], [list(wanted)], into, from_start, lengths)
    finally:
        client.unregister_buffer(_address(room))
    held = {name for name, [code] in zip(wanted, codes, strict=True) if code not in _MISSES and _sound(code)}
    return [bytes(room[starts[name] : starts[name] + wanted[name]]) if name in held else None for name in names]


def put(client: Client, name: str, parts: Sequence[Buffer]) -> bool:
    """False when something is there, or about to be. `Client.put` says no more than that something is there now."""
    value = bytearray().join(parts)
    if (code := client.batch_put_session_start([name], [len(value)])[0]) in (_EXISTS, _INVALID):  # by this process
        return False
    _sound(code)
    try:
        _sound(client.batch_put_from_multi_buffer_ranges([name], [[_address(value)]], [[len(value)]], [[0]])[0])
        return _sound(client.batch_put_session_end([name])[0]) == 0
    except TierUnavailable:
        client.batch_put_session_revoke([name])
        raise


def delete(client: Client, names: Sequence[str]) -> None:
    """Whether somebody reads them or not."""
    for code in client.batch_remove(list(names), True):
        if code not in _MISSES:
            _sound(code)


def _address(room: bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(room))


def _sound(code: int) -> int:
    """Raises TierUnavailable on a code of failure."""
    if code < 0:
        raise TierUnavailable(f"Mooncake answers with code {code}")
    return code
