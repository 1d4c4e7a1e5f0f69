"""Recovery: makes the index say what the segments hold, whatever became of either since they agreed.

Of each segment the index knows how far it has taken records in. What lies behind that was written and not
committed, or was committed by an index that is lost; a missing index knows nothing, so that all is taken in.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

from kvstore.disk_log import DiskLog
from kvstore.index_change import IndexChange
from kvstore.index_rows import Located
from kvstore.segment_record import RecordHeader, record_bytes
from kvstore.segments import Place
from kvstore.tier import Entry

_log = logging.getLogger(__name__)
_RECORDS_AT_ONCE = 2000
_Found = tuple[Place, RecordHeader]


def recover(log: DiskLog, known: Mapping[int, tuple[int, int]]) -> None:
    """Reads no record that the index knows, so that it takes no time when nothing is amiss.

    `known` is what the index says of the segments (`DiskIndex.segments`).
    """
    lengths = dict(log.writer.lengths)
    newest = max(lengths, default=None)
    short = [segment for segment, (length, _) in known.items() if lengths.get(segment, 0) < length]
    longer = [segment for segment, length in lengths.items() if segment not in known or known[segment][0] < length]
    if short:
        _drop_what_is_gone(log, {segment: lengths.get(segment, 0) for segment in short})
    for segment in longer:
        start = known[segment][0] if segment in known else 0
        _take_in(log, segment, start, lengths[segment], is_newest=segment == newest)
    if short or longer:
        known = log.index.segments()
    for segment, (_, live) in known.items():
        if not live and segment in lengths:
            log.remove(segment)
    if newest is not None and newest in log.writer.lengths and known[newest][0] < log.segment_bytes:
        log.writer.resume(newest, known[newest][0])


def _drop_what_is_gone(log: DiskLog, short: Mapping[int, int]) -> None:
    """Chunks in segments that are not there, of length 0, or were cut short."""
    num_lost = log.drop_beyond(short)
    _log.warning("%s: %d chunks are lost with the ends of %d segments", log.segments.directory, num_lost, len(short))
    log.commit(partial(_drop_segments, [segment for segment, length in short.items() if not length]))


def _take_in(log: DiskLog, segment: int, start: int, length: int, is_newest: bool) -> None:
    records = log.segments.scan(segment, start)
    if is_newest:  # what was being written when the writer ended: a sound header says nothing of the rest
        records = (found for found in records if _is_whole(log, found))
    num_taken, end = 0, start
    while group := list(islice(records, _RECORDS_AT_ONCE)):
        last, header = group[-1]
        end = last.offset + record_bytes(header.size_bytes)
        log.commit(partial(_add, group))
        num_taken += len(group)
    log.commit(lambda change: change.know(segment, end if is_newest else length))
    if num_taken:
        _log.warning("%s: %d records the index did not have are taken in", log.segments.path(segment), num_taken)


def _is_whole(log: DiskLog, found: _Found) -> bool:
    place, header = found
    return log.segments.read(place, header.key, header.size_bytes) is not None


def _drop_segments(segments: Sequence[int], change: IndexChange) -> None:
    for segment in segments:
        change.drop_segment(segment)


def _add(group: Sequence[_Found], change: IndexChange) -> None:
    """A copy of a record that is known keeps what is remembered of it.

    Older ones are none: a file that was unlinked may be back after a loss of power.
    """
    for place, header in group:
        held = change.find(header.key)
        if held is not None and held.place > place:
            continue
        entry = Entry(
            header.key, header.size_bytes, header.saved_at_s, header.saved_at_s, 0, header.terms, header.parent
        )
        if held is not None and (held.entry.saved_at_s, held.entry.size_bytes) == (
            header.saved_at_s,
            header.size_bytes,
        ):
            entry = replace(held.entry, terms=header.terms, parent=header.parent)
        change.add(Located(entry, place))
