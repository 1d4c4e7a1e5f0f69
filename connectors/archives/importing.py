"""Importing: the chunks of an archive into a tier, each one checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from codec import CorruptFrame, Profile, UnsupportedRotary, read_header
from kvstore import ChunkKey, ChunkTree, Entry, Tier, frame_problem, profile_named
from kvstore.archive import ArchiveReader, CorruptArchive

_RUN_BYTES = 32 << 20  # frames of one prompt handed to the tier together


@dataclass
class Imported:
    """What became of an archive's chunks, and what was wrong with parts of it."""

    imported: list[ChunkKey] = field(default_factory=list)
    imported_bytes: int = 0
    held: int = 0
    expired: int = 0
    no_room: int = 0
    absent_profiles: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)


def import_archive(
    archive: ArchiveReader,
    tier: Tier,
    now_s: float,
    tracked: Callable[[Sequence[Entry]], Iterable[Entry]] = iter,
    refused: Callable[[Entry], str | None] = lambda chunk: None,
) -> Imported:
    """Verifies every frame, and puts what is sound. `tracked` gives the chunks out one by one.

    `refused` says why a chunk is not to be taken, if so.
    """
    importing = _Import(archive, tier, now_s)
    for chunk in tracked(list(ChunkTree(archive.chunks).prefix_first())):
        importing.consider(chunk, refused(chunk))
    return importing.ended()


class _Import:
    """One archive on its way into one tier."""

    def __init__(self, archive: ArchiveReader, tier: Tier, now_s: float) -> None:
        self._archive, self._tier, self._now_s = archive, tier, now_s
        self._outcome = Imported(problems=list(archive.problems))
        self._run: list[tuple[Entry, bytes]] = []
        """Frames of one prompt, each behind the one before, about to be put together."""
        self._without_room: set[ChunkKey] = set()
        self._ends: dict[ChunkKey | None, tuple[int, str]] = {}
        """Where each frame taken ends, and of which spec: what the chunk behind it has to continue."""
        self._profiles: dict[str, None] = {}

    def consider(self, chunk: Entry, refusal: str | None) -> None:
        """Takes the chunk, or notes why not."""
        if not self._continues_run(chunk):
            self._put_run()
        if refusal is not None:
            self._outcome.problems.append((f"chunk {str(chunk.key)[:12]}", refusal))
        elif chunk.terms.expires_at_s <= self._now_s:
            self._outcome.expired += 1
        elif self._tier.entry(chunk.key) is not None:
            self._outcome.held += 1
        elif chunk.parent in self._without_room:
            self._decline(chunk)
        else:
            try:
                self._run.append((chunk, self._sound_frame(chunk)))
            except (CorruptArchive, CorruptFrame) as error:
                self._outcome.problems.append((f"chunk {str(chunk.key)[:12]}", str(error)))

    def ended(self) -> Imported:
        self._put_run()
        return self._outcome

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
            while parent is not None and parent not in before and (entry := self._tier.entry(parent)) is not None:
                before.append(parent)
                parent = entry.parent
            frames = [(chunk.key, frame) for chunk, frame in self._run]
            stored = self._tier.put(frames, before[::-1], self._run[0][0].terms)
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
        if chunk.parent not in (None, before) and self._tier.entry(chunk.parent) is None:
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
            if fingerprint not in self._tier.profiles():
                self._outcome.absent_profiles.append(fingerprint)
            return
        try:
            content = self._archive.profile(fingerprint)
            if Profile.from_content(content).fingerprint != fingerprint:
                raise CorruptFrame("it is another profile than its name says")
            if not self._tier.keep_profile(fingerprint, content):
                self._outcome.absent_profiles.append(fingerprint)
        except (CorruptArchive, CorruptFrame, UnsupportedRotary) as error:
            self._outcome.problems.append((f"profile {fingerprint[:12]}", str(error)))


def imported_as_json(outcome: Imported) -> dict[str, Any]:
    """What the command and the sidecar answer."""
    return {
        "imported": [str(key) for key in outcome.imported],
        "imported_bytes": outcome.imported_bytes,
        "held": outcome.held,
        "expired": outcome.expired,
        "no_room": outcome.no_room,
        "absent_profiles": outcome.absent_profiles,
        "problems": [{"part": part, "problem": problem} for part, problem in outcome.problems],
    }
