"""Guard: asks tiers on behalf of whoever must go on without them: breakers, counting, and one complaint at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from kvstore.breaker import Breaker
from kvstore.errors import TierUnavailable
from kvstore.metrics import Metrics
from kvstore.tier import Tier

_log = logging.getLogger(__name__)
T = TypeVar("T")
_READING, _WRITING = ("match", "get", "peek", "get_on_device", "entry"), ("put", "touch", "pin")  # a full disk reads on
_SLOW_S = 5.0  # a read that takes longer is as bad as one that fails


class Guard:
    """A tier that is unavailable is skipped and counted. The log names it, and what it could not do, once until that
    works again. One that keeps failing is not asked for a while; it has a breaker for reading and one for writing.
    What is deleted, quarantined or listed goes past them. Safe in threads.
    """

    def __init__(self, tiers: Sequence[Tier], metrics: Metrics, breaker: Callable[[], Breaker]) -> None:
        """`breaker` makes one, closed."""
        self._metrics = metrics
        self._breakers = {
            (tier, verb): guard
            for tier in tiers
            for verbs, guard in ((_READING, breaker()), (_WRITING, breaker()))
            for verb in verbs
        }
        self._complained: set[tuple[str, str]] = set()

    def open_breakers(self) -> dict[tuple[str, str], bool]:
        """By a tier's name, and `read` or `write`: whether it is not asked for now."""
        kinds = {_READING[0]: "read", _WRITING[0]: "write"}
        return {
            (tier.name, kinds[verb]): each.is_open for (tier, verb), each in self._breakers.items() if verb in kinds
        }

    def ask(self, tier: Tier, otherwise: T, call: Callable[..., T], *arguments: Any) -> T:
        """What the tier answers to `call(*arguments)`, or `otherwise` when it is unavailable or its breaker open."""
        breaker = self._breakers.get((tier, call.__name__))
        ticket = 0 if breaker is None else breaker.admit()
        if ticket is None:
            self._metrics.count("tier_skipped")
            return otherwise
        started_s, succeeded = time.monotonic(), False
        try:
            answer = call(*arguments)
            succeeded = call.__name__ not in _READING or time.monotonic() - started_s < _SLOW_S
        except TierUnavailable as error:
            self._complain(tier.name, call.__name__, error)
            return otherwise
        finally:
            if breaker is not None and breaker.report(ticket, succeeded):
                self._metrics.count("breakers_opened")
                _log.info("the %s tier fails or is slow: no %s for a while", tier.name, call.__name__)
        self._complained.discard((tier.name, call.__name__))
        return answer

    def _complain(self, name: str, verb: str, error: TierUnavailable) -> None:
        self._metrics.count("tier_unavailable")
        if (name, verb) not in self._complained:
            self._complained.add((name, verb))
            _log.warning("the %s tier is unavailable, going on without it (%s): %s", name, verb, error)
