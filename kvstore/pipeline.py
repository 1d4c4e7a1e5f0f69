"""One thread reads frames ahead, others decode them, and the outcomes come in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

DECODERS = 2
"""Chunks decoded at once."""
Key = TypeVar("Key")
Read = TypeVar("Read")
Done = TypeVar("Done")


def in_order(
    keys: Sequence[Key], read: Callable[[Key], Read], decode: Callable[[int, Read], Done], decoders: int = DECODERS
) -> Iterator[Future[Done]]:
    """Each key's `decode(index, read(key))`, done or under way, the first key's first.

    At most `decoders` are decoded at once, and one more is read. A caller who stops early waits for those under
    way: they may be writing.
    """

    def decode_read(index: int, reading: Future[Read]) -> Done:
        return decode(index, reading.result())

    with ThreadPoolExecutor(1, "kvstore-read") as reader, ThreadPoolExecutor(decoders, "kvstore-decode") as decoder:
        ahead: deque[Future[Done]] = deque()
        for index, key in enumerate(keys):
            ahead.append(decoder.submit(decode_read, index, reader.submit(read, key)))
            if len(ahead) > decoders:
                yield ahead.popleft()
        yield from ahead
