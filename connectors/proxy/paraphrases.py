"""Paraphrases in flight: who asks what is being computed in other words waits for that, and then asks the cache again.

Waited for is only what the cache would serve for the pair, and it decides once more when the answer is there: waiting
may turn out to be in vain, never wrong. Of two that come at once, the one that came first waits for nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from connectors.proxy.flight import Flight
from semantic_cache.query import Query

Begun = TypeVar("Begun")


class Paraphrases(Generic[Begun]):
    """What is being computed, by partition. Of one event loop."""

    def __init__(self) -> None:
        self._under_way: dict[bytes, dict[Flight[Begun], Query]] = {}

    @contextmanager
    def joined(self, query: Query, flight: Flight[Begun]) -> Iterator[list[tuple[Flight[Begun], Query]]]:
        """Those that were under way before, the first one first. Until the `with` is left, this one is too."""
        others = self._under_way.setdefault(query.partition, {})
        earlier = list(others.items())
        others[flight] = query
        try:
            yield earlier
        finally:
            del others[flight]
            if not others:
                del self._under_way[query.partition]


async def ended(flight: Flight[Begun]) -> None:
    """Waits for all of it, as one of its readers: it goes on though its own caller leave. However it ends."""
    reader = flight.answer.join()
    try:
        await reader.begun()
        async for _ in reader:
            pass
    except Exception:
        return  # whoever asked for it is told, and who waited asks for itself
    finally:
        flight.leave(reader)
    await flight.settled()
