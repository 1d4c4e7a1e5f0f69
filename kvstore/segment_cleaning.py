"""Cleaning: copies what lives in a segment to the end of the log, so that the file can be unlinked.

Eviction by age empties most segments by itself; what is left in an old one is what was used since.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial

from kvstore.disk_log import DiskLog
from kvstore.grouping import groups
from kvstore.index_change import IndexChange
from kvstore.index_rows import Located
from kvstore.segment_record import RecordHeader

_log = logging.getLogger(__name__)
_Live = tuple[Located, RecordHeader, memoryview]


def make_space(log: DiskLog, num_bytes: int, limit_bytes: int) -> None:
    """Cleans segments until a group of records fits in files of `limit_bytes`.

    Always gets there, for a group no larger than a segment, while the live records and four segments are
    within the limit.
    """
    needed = min(num_bytes, log.segment_bytes)
    while needed > log.writer.room_bytes and log.writer.total_bytes + 2 * log.segment_bytes > limit_bytes:
        segment = _deadest(log)
        if segment is None:
            return
        _clean(log, segment)


def _deadest(log: DiskLog) -> int | None:
    """The segment with least alive in it, of those in which something is dead."""
    alive = {
        segment: live
        for segment, (_, live) in log.index.segments().items()
        if segment != log.writer.active and live < log.writer.lengths.get(segment, 0)
    }
    return min(alive, key=alive.__getitem__, default=None)


def _clean(log: DiskLog, segment: int) -> None:
    for group in groups(_live(log, segment), lambda live: live[0].record_bytes, log.group_bytes):
        log.commit(partial(_copy, log, group))
    damaged = log.drop_beyond({segment: 0}) if log.index.segments().get(segment, (0, 0))[1] else 0
    if damaged:
        _log.warning("%d damaged records are dropped with %s", damaged, log.segments.path(segment))
    if segment in log.writer.lengths:  # its last commit did not empty it: there was nothing to copy
        log.remove(segment)


def _copy(log: DiskLog, group: list[_Live], change: IndexChange) -> None:
    log.writer.begin(sum(located.record_bytes for located, _, _ in group))
    for located, header, payload in group:
        change.move(located, log.writer.stage(header, payload))


def _live(log: DiskLog, segment: int) -> Iterator[_Live]:
    """The records to which the index points, those that are whole."""
    for place, header in log.segments.scan(segment, 0):
        located = log.index.find(header.key)
        if located is not None and located.place == place:
            payload = log.segments.read(place, header.key, located.entry.size_bytes)
            if payload is not None:
                yield located, header, payload
