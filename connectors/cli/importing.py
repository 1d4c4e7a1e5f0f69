"""`kvstore import`: takes the chunks of an archive into a store, each one checked."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from codec import CorruptFrame, Profile, UnsupportedRotary, read_header
from connectors.byte_size import format_bytes
from connectors.cli.holdings import create_writer, store_path
from connectors.cli.options import JsonOption, StoreOption
from connectors.cli.output import counted, print_json, print_line, print_table, progress
from kvstore import ChunkKey, ChunkTree, DiskTier, Entry, frame_problem, profile_named
from kvstore.archive import ArchiveReader, CorruptArchive

_RUN_BYTES = 32 << 20  # frames of one prompt handed to the tier together


@dataclass
class _Outcome:
    """What became of an archive's chunks, and what was wrong with parts of it."""

    imported: list[ChunkKey] = field(default_factory=list)
    imported_bytes: int = 0
    held: int = 0
    expired: int = 0
    no_room: int = 0
    absent_profiles: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)


def import_chunks(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `kvstore export` wrote.")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take the chunks of an exported file into a store, which is made when it is not there.

    Every frame is verified; what is damaged, or lies behind a chunk that is neither in the file nor in the
    store, is skipped and named, and the exit code is 1. What has expired or is held already is skipped.
    Nothing is evicted to make room. No other process may be writing the store.

    That a frame holds the KV of the tokens its key stands for cannot be checked: import only files of
    those you would take the model from.

    Example: kvstore import acme.kv.zip --store /data/kv
    """
    path = store_path(store)
    with ArchiveReader(file) as archive, create_writer(path) as writer:
        outcome = _Import(archive, writer, time.time()).outcome(hidden=as_json)
    if as_json:
        print_json(_as_json(outcome))
    else:
        _print(path, outcome)
    if outcome.problems:
        raise typer.Exit(1)


class _Import:
    """One archive on its way into one store."""

    def __init__(self, archive: ArchiveReader, writer: DiskTier, now_s: float) -> None:
        self._archive, self._writer, self._now_s = archive, writer, now_s
        self._outcome = _Outcome(problems=list(archive.problems))
        self._run: list[tuple[Entry, bytes]] = []
        """Frames of one prompt, each behind the one before, about to be put together."""
        self._without_room: set[ChunkKey] = set()
        self._ends: dict[ChunkKey | None, tuple[int, str]] = {}
        """Where each frame taken ends, and of which spec: what the chunk behind it has to continue."""
        self._profiles: dict[str, None] = {}

    def outcome(self, hidden: bool) -> _Outcome:
        with progress(hidden) as bar:
            task = bar.add_task("importing", total=sum(chunk.size_bytes for chunk in self._archive.chunks))
            for chunk in ChunkTree(self._archive.chunks).prefix_first():
                self._consider(chunk)
                bar.advance(task, chunk.size_bytes)
            self._put_run()
        return self._outcome

    def _consider(self, chunk: Entry) -> None:
        if not self._continues_run(chunk):
            self._put_run()
        if chunk.terms.expires_at_s <= self._now_s:
            self._outcome.expired += 1
        elif self._writer.entry(chunk.key) is not None:
            self._outcome.held += 1
        elif chunk.parent in self._without_room:
            self._decline(chunk)
        else:
            try:
                self._run.append((chunk, self._sound_frame(chunk)))
            except (CorruptArchive, CorruptFrame) as error:
                self._outcome.problems.append((f"chunk {str(chunk.key)[:12]}", str(error)))

    def _continues_run(self, chunk: Entry) -> bool:
        if not self._run:
            return True
        last, _ = self._run[-1]
        too_large = sum(len(frame) for _, frame in self._run) >= _RUN_BYTES
        return chunk.parent == last.key and chunk.terms == last.terms and not too_large

    def _put_run(self) -> None:
        """Puts the run behind what is held of its prompt; what does not fit is noted."""
        if self._run:
            before: list[ChunkKey] = []
            parent = self._run[0][0].parent
            while parent is not None and parent not in before and (entry := self._writer.entry(parent)) is not None:
                before.append(parent)
                parent = entry.parent
            frames = [(chunk.key, frame) for chunk, frame in self._run]
            stored = self._writer.put(frames, before[::-1], self._run[0][0].terms)
            self._outcome.imported += [key for key, _ in frames[:stored]]
            self._outcome.imported_bytes += sum(len(frame) for _, frame in frames[:stored])
            for chunk, _ in self._run[stored:]:
                self._decline(chunk)
        self._run = []

    def _decline(self, chunk: Entry) -> None:
        self._without_room.add(chunk.key)
        self._outcome.no_room += 1

    def _sound_frame(self, chunk: Entry) -> bytes:
        """The verified frame, its profile kept. Raises CorruptArchive or CorruptFrame."""
        before = self._run[-1][0].key if self._run else None
        if chunk.parent not in (None, before) and self._writer.entry(chunk.parent) is None:
            raise CorruptArchive(f"the chunk before it, {str(chunk.parent)[:12]}, is neither taken nor held")
        frame = self._archive.frame(chunk.key)
        problem = frame_problem(chunk.key, frame)
        if problem is not None:
            raise CorruptFrame(problem)
        header = read_header(frame)
        begins = header.start, header.spec_fingerprint
        if (chunk.parent is None) != (header.start == 0) or self._ends.get(chunk.parent, begins) != begins:
            raise CorruptFrame("the frame does not continue the chunk before it")
        self._ends[chunk.key] = header.end, header.spec_fingerprint
        if fingerprint := profile_named(header.codec, header.codec_params):
            self._keep_profile(fingerprint)
        return frame

    def _keep_profile(self, fingerprint: str) -> None:
        """Before the first frame that needs it."""
        if fingerprint in self._profiles:
            return
        self._profiles[fingerprint] = None
        if fingerprint not in self._archive.profiles:
            if fingerprint not in self._writer.profiles():
                self._outcome.absent_profiles.append(fingerprint)
            return
        try:
            content = self._archive.profile(fingerprint)
            if Profile.from_content(content).fingerprint != fingerprint:
                raise CorruptFrame("it is another profile than its name says")
            self._writer.keep_profile(fingerprint, content)
        except (CorruptArchive, CorruptFrame, UnsupportedRotary) as error:
            self._outcome.problems.append((f"profile {fingerprint[:12]}", str(error)))


def _as_json(outcome: _Outcome) -> dict[str, Any]:
    return {
        "imported": [str(key) for key in outcome.imported],
        "imported_bytes": outcome.imported_bytes,
        "held": outcome.held,
        "expired": outcome.expired,
        "no_room": outcome.no_room,
        "absent_profiles": outcome.absent_profiles,
        "problems": [{"part": part, "problem": problem} for part, problem in outcome.problems],
    }


def _print(path: Path, outcome: _Outcome) -> None:
    taken = counted(len(outcome.imported), "chunk")
    print_line(f"{path}: {taken} of {format_bytes(outcome.imported_bytes)} imported.")
    if outcome.held:
        print_line(f"{outcome.held} were held already.")
    if outcome.expired:
        print_line(f"{outcome.expired} have expired.")
    if outcome.no_room:
        print_line(f"{outcome.no_room} do not fit: raise disk.capacity_bytes, or `kvstore evict` first.")
    for fingerprint in outcome.absent_profiles:
        print_line(f"Neither here nor in the file: profile {fingerprint}, which some of them are decoded with.")
    if outcome.problems:
        print_line(f"{len(outcome.problems)} parts of the file are skipped:")
        print_table(["part", "problem"], outcome.problems)
