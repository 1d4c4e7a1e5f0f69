"""Replay: which examples are worth computing again off-peak, and which are not worth their bytes.

Cost-aware replay as in IC-Cache (Yu et al., arXiv 2501.12689). Of the paper the abstract could be read; that gain
decays hourly and that what is dropped is least gain per byte are as others recall it, the accounts are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from kvstore.errors import CorruptFrame, InvalidRequest
from semantic_cache.example import Past

HOURLY = 0.9
"""What an hour leaves of all that is counted."""
_HOUR_S = 3600.0


@dataclass(frozen=True)
class _Account:
    """Of one example, as of `at_s`. A use counts as one, and fades; at a steady rate it sums up ten hours' worth."""

    size_bytes: int
    compute_s: float
    at_s: float
    tried: float = 0.0
    lift: float = 0.0
    missed_s: float = 0.0
    """Seconds of the large model that it was to spare and did not."""
    spared_s: float = 0.0

    def as_of(self, now_s: float) -> _Account:
        """A clock that goes back takes nothing away and gives nothing."""
        left = HOURLY ** (max(now_s - self.at_s, 0.0) / _HOUR_S)
        return replace(
            self,
            at_s=now_s,
            tried=self.tried * left,
            lift=self.lift * left,
            missed_s=self.missed_s * left,
            spared_s=self.spared_s * left,
        )


class Replay:
    """What each example brought, all in seconds of the large model. Not safe to use from several threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` says Unix time: accounts outlive the process."""
        self._clock = clock
        self._accounts: dict[int, _Account] = {}

    def __len__(self) -> int:
        return len(self._accounts)

    def __contains__(self, document_id: object) -> bool:
        return document_id in self._accounts

    def add(self, document_id: int, size_bytes: int, compute_s: float) -> None:
        """An example is held, whose answer took so long; to give it time it counts as one that was of use once.

        Adding it again begins anew. Raises InvalidRequest unless both numbers are above 0.
        """
        if not (size_bytes > 0 and 0 < compute_s < math.inf):
            raise InvalidRequest(f"an example of {size_bytes} bytes, computed in {compute_s} s: both are above 0")
        self._accounts[document_id] = _Account(size_bytes, compute_s, self._clock(), spared_s=compute_s)

    def remove(self, ids: Iterable[int]) -> None:
        """What is not held is none of them."""
        for document_id in ids:
            self._accounts.pop(document_id, None)

    def used(self, document_id: int, quality: float, without: float, compute_s: float) -> None:
        """It was shown, and the small model answered this well, where `without` was to be expected without examples.

        The large model would have taken `compute_s`, of which each of several that were shown has an even share. Raises
        InvalidRequest unless both qualities are from 0 to 1. Ids that are not held are ignored: an example may have
        been dropped meanwhile.
        """
        if not (0 <= quality <= 1 and 0 <= without <= 1 and 0 <= compute_s < math.inf):
            raise InvalidRequest(f"quality {quality} for {without}, {compute_s} s: the first two are from 0 to 1")
        account = self._account(document_id)
        if account is not None:
            self._accounts[document_id] = replace(
                account,
                tried=account.tried + 1,
                lift=account.lift + quality - without,
                missed_s=account.missed_s + (1 - quality) * compute_s,
                spared_s=account.spared_s + (quality - without) * compute_s,
            )

    def past(self, document_id: int) -> Past:
        """How it did so far; nothing of what is not held."""
        account = self._account(document_id)
        return Past() if account is None else Past(account.tried, account.lift)

    def due(self, budget_s: float) -> list[int]:
        """What to compute again within `budget_s` of the large model, the most urgent first.

        An example's priority is how often it is shown, times how far its answers fall short, times what they cost.
        It is due while that is more than computing it once, so what was shown little never is.
        """
        chosen, left_s = [], budget_s
        for document_id, account in sorted(self._now(), key=lambda held: (-held[1].missed_s, held[0])):
            if account.compute_s < account.missed_s and account.compute_s <= left_s:
                chosen.append(document_id)
                left_s -= account.compute_s
        return chosen

    def replayed(self, document_id: int, now: int | None) -> None:
        """It has another answer, as document `now`, of which nothing is known; None where it has none any more.

        Ids not held are ignored.
        """
        account = self._account(document_id)
        self._accounts.pop(document_id, None)
        if account is not None and now is not None:
            spared_s = max(account.spared_s, account.compute_s)
            self._accounts[now] = _Account(account.size_bytes, account.compute_s, account.at_s, spared_s=spared_s)

    def surplus(self, capacity_bytes: int) -> list[int]:
        """Ids to drop so that the rest fits, those first that spare least by the byte.

        That is the greedy answer to the knapsack: what is kept spares as much as the best choice would, but for at
        most what one example spares.
        """
        excess = sum(account.size_bytes for account in self._accounts.values()) - capacity_bytes
        dropped = []
        for document_id, account in sorted(
            self._now(), key=lambda held: (held[1].spared_s / held[1].size_bytes, held[0])
        ):
            if excess <= 0:
                break
            dropped.append(document_id)
            excess -= account.size_bytes
        return dropped

    def to_json(self) -> dict[str, Any]:
        """What `restore` takes, of what JSON has: about 150 bytes for each example."""
        return {str(document_id): list(asdict(account).values()) for document_id, account in self._accounts.items()}

    def restore(self, said: Mapping[str, Any]) -> None:
        """Back to when `to_json` said so. Raises CorruptFrame, and changes nothing, on all else: go on without it."""
        try:
            self._accounts = {int(document_id): _account_of(numbers) for document_id, numbers in said.items()}
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise CorruptFrame(f"these are no accounts of examples: {error!r}") from error

    def _account(self, document_id: int) -> _Account | None:
        account = self._accounts.get(document_id)
        return None if account is None else account.as_of(self._clock())

    def _now(self) -> list[tuple[int, _Account]]:
        now_s = self._clock()
        return [(document_id, account.as_of(now_s)) for document_id, account in self._accounts.items()]


def _account_of(numbers: Any) -> _Account:
    """Raises TypeError or ValueError on what is none."""
    if not isinstance(numbers, list) or not all(type(number) in (int, float) for number in numbers):
        raise TypeError(f"{numbers!r} are no numbers")
    if len(numbers) != len(fields(_Account)) or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{numbers} are not the numbers of an account")
    account = _Account(*numbers)
    if account.size_bytes <= 0 or account.compute_s <= 0:
        raise ValueError(f"an example of {account.size_bytes} bytes, computed in {account.compute_s} s")
    return account
