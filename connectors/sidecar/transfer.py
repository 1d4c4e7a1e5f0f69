"""Chunks out of a service in an archive, and into it from one; and all of them verified."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from connectors.archives.exporting import Exported, export_chunks
from connectors.archives.importing import Imported, import_archive
from connectors.inspection.holdings import profile_problem
from connectors.sidecar.callers import Caller
from connectors.sidecar.service import Service
from connectors.sidecar.view import View
from kvstore import Checked, ChunkKey, DiskReader, Entry, Terms, Tier, TierUnavailable, check_tier
from kvstore.archive import ArchiveReader, ArchiveWriter
from kvstore.tier import NO_TERMS, Frame

_PIECE_BYTES = 64 << 10
_EVERY_S = 1.0


def directory_of(service: Service) -> Path | None:
    """The store's own, of the slowest tier that is in one."""
    return next((tier.path for tier in reversed(service.tiers.tiers) if isinstance(tier, DiskReader)), None)


def spool(service: Service) -> BinaryIO:
    """An open file beside the store that has no name, and is gone when it is closed, or the process ends."""
    return cast(BinaryIO, tempfile.TemporaryFile(dir=directory_of(service)))


def room_for_spool(service: Service) -> int:
    """Bytes that such a file may take."""
    where = os.statvfs(directory_of(service) or tempfile.gettempdir())
    return where.f_bavail * where.f_frsize


class _Outlet:
    """A file that is written to and read piece by piece: what is large is handed on as it is, the rest together."""

    def __init__(self) -> None:
        self._pieces: list[bytes | memoryview] = []
        self._small = bytearray()

    def write(self, data: Frame) -> int:
        if len(data) < _PIECE_BYTES:
            self._small += data
        if len(data) >= _PIECE_BYTES or len(self._small) >= _PIECE_BYTES:
            self.flush()
        if len(data) >= _PIECE_BYTES:
            self._pieces.append(memoryview(data))
        return len(data)

    def flush(self) -> None:
        if self._small:
            self._pieces.append(bytes(self._small))
            self._small.clear()

    def close(self) -> None:
        self.flush()

    def taken(self) -> list[bytes | memoryview]:
        """What was written since; small pieces wait until there are more."""
        pieces, self._pieces = self._pieces, []
        return pieces


def archive_of(view: View, entries: Sequence[Entry]) -> Iterator[bytes | memoryview]:
    """An archive of these chunks, as it is written. What is gone meanwhile is left out, what is damaged is named."""
    outlet = _Outlet()
    with ArchiveWriter(outlet) as archive:
        for _ in export_chunks(view, entries, archive, Exported()):
            yield from outlet.taken()
    outlet.close()
    yield from outlet.taken()


class _Receiving(View):
    """Takes chunks as if they were put one prompt after the other, durably where a tier is."""

    def __init__(self, service: Service, caller: Caller) -> None:
        super().__init__(service.tiers, caller)
        self._service, self._durably = service, any(tier.durable for tier in service.tiers.tiers)

    def put(
        self, entries: Sequence[tuple[ChunkKey, Frame]], prefix: Sequence[ChunkKey] = (), terms: Terms = NO_TERMS
    ) -> int:
        parent = prefix[-1] if prefix else None
        return self._service.put(
            terms.tenant, entries, parent, durable=self._durably, expires_at_s=terms.expires_at_s
        ).stored

    def keep_profile(self, fingerprint: str, content: bytes) -> bool:
        """False as well where the caller is a tenant and others would find it here."""
        if not self._caller.is_admin:
            return fingerprint in self.profiles()
        return self._service.tiers.keep_profile(fingerprint, content)


def import_from(service: Service, caller: Caller, file: BinaryIO, most_bytes: int) -> Imported:
    """The caller's own chunks of the archive, each verified and of at most so many bytes. Raises CorruptArchive."""

    def refused(chunk: Entry) -> str | None:
        return None if caller.sees(chunk) else f"it is of tenant {chunk.terms.tenant!r}, and this token is another's"

    with ArchiveReader(file, most_bytes) as archive:
        return import_archive(archive, _Receiving(service, caller), time.time(), refused=refused)


@dataclass
class _Sums:
    whole: int = 0
    whole_bytes: int = 0
    unreachable: int = 0
    damaged: int = 0
    dropped: int = 0
    unavailable: list[str] = field(default_factory=list)


def verified(
    service: Service, caller: Caller, repair: bool, clock: Callable[[], float] = time.monotonic
) -> Iterator[dict[str, Any]]:
    """Every copy of every frame that the caller sees is checked. Gives out what is damaged, how far it is at least once
    a second, and at last the sums, with `done`. With `repair` what is damaged is dropped from the tier it is in.
    """
    sums, due_s = _Sums(), clock() + _EVERY_S
    for tier in service.tiers.tiers:
        view = View(tier, caller)
        try:
            for checked in check_tier(view):
                if checked.problem is not None:
                    yield _damage(service, tier, checked, repair, sums)
                else:
                    sums.whole, sums.whole_bytes = sums.whole + 1, sums.whole_bytes + checked.size_bytes
                    sums.unreachable += not checked.reachable
                if clock() >= due_s:
                    yield {"tier": tier.name, "whole": sums.whole, "whole_bytes": sums.whole_bytes}
                    due_s = clock() + _EVERY_S
        except TierUnavailable as error:
            sums.unavailable.append(f"{tier.name}: {error}")
    yield {"done": True, **vars(sums), "damaged_profiles": _damaged_profiles(View(service.tiers, caller))}


def _damage(service: Service, tier: Tier, checked: Checked, repair: bool, sums: _Sums) -> dict[str, Any]:
    sums.damaged += 1
    if repair:
        tier.quarantine(checked.key, str(checked.problem))
        service.metrics.count("chunks_corrupt")
        sums.dropped += 1
    found = {"tier": tier.name, "key": str(checked.key), "size_bytes": checked.size_bytes}
    return {**found, "problem": checked.problem, "dropped": repair}


def _damaged_profiles(view: View) -> list[dict[str, str]]:
    problems = {fingerprint: profile_problem(view, fingerprint) for fingerprint in view.profiles()}
    return [{"fingerprint": name, "problem": problem} for name, problem in problems.items() if problem]
