"""Loss of power: what was not synced is on the disk in part, page by page, as chance has it.

One writer works on a store once; what it writes, syncs and unlinks is recorded. A round cuts that record at a
random place and builds the directory as it may be found then: of each file what was synced, and any of the
later writes' pages; of the index the last commit (whose meta page may be missing: `metasync=False`) and any pages
of the next one, which LMDB writes where neither this commit nor the one before has anything.
"""

import os
import shutil
import threading
from contextlib import ExitStack
from pathlib import Path
from random import Random
from unittest import mock

from kvstore import DiskTier, Terms
from kvstore.lmdb_env import LmdbEnvironment
from kvstore.testing import frame, frames, key, prompt
from tests.faults.kills import small_pieces

PAGE_BYTES = 4096
CAPACITY, FRAME_BYTES, CHUNKS = 2_400_000, 40_000, 4
PUTS, MOST_AFTER = 60, 9


class PowerLosses:
    """Rounds: the store after a loss of power. `attempt` says what was wrong with it."""

    def __init__(self, directory, seed):
        self._store, self._seed = directory / "store", seed
        with small_pieces():
            self._events = _record(directory / "recorded", Random(f"{seed} load"))

    def kind(self, number):
        return "power"

    def attempt(self, number):
        random = Random(f"{self._seed} loss {number}")
        return self.after(random.randrange(1, len(self._events) + 1), random)

    def after(self, cut, random):
        """What is wrong when the power goes after that many events."""
        shutil.rmtree(self._store, ignore_errors=True)
        _build(self._store, self._events, cut, random)
        with small_pieces():
            return [f"event {cut}: {problem}" for problem in _problems(self._store, self._events[:cut])]


def _record(path, random):
    """What a writer does, in order: (verb, name of the file, details)."""
    with ExitStack() as stack:
        events = _recording(stack, path)
        tier = stack.enter_context(DiskTier(path, CAPACITY))
        for number in range(PUTS):
            again = random.random() < 0.3
            keys = prompt(f"again {random.randrange(5)}" if again else f"{number}", CHUNKS)
            tier.put(frames(keys, FRAME_BYTES), terms=Terms("somebody"))
            events.append(("put", tuple(keys), None))
            if number == 3:
                tier.pin(keys)
                events.append(("pin", tuple(keys), None))
            if number % 7 == 5:
                gone = prompt(f"gone {number}", 2)
                tier.put(frames(gone, FRAME_BYTES))
                tier.delete_all(gone)
                events.append(("delete", tuple(gone), None))
    return events


def _recording(stack, path):
    """The list in which events appear while the stack is open."""
    events, lock = [], threading.Lock()

    def record(original, event_of):
        def recorded(*arguments, **named):
            result = original(*arguments, **named)
            with lock:
                events.extend(event for event in [event_of(*arguments)] if event)
            return result

        return recorded

    def of_segment(verb):
        def event(descriptor, *details):
            file = _file_of(descriptor)
            return (verb, file.name, details) if file.suffix == ".seg" else None

        return event

    def of_sync(descriptor):
        return ("names", None, None) if _file_of(descriptor) == path / "segments" else None

    def of_commit(env, work):
        return "commit", None, (env.path / "data.mdb").read_bytes()

    write = of_segment("write")
    for module, name, event_of in [
        (os, "pwrite", lambda descriptor, piece, at: write(descriptor, bytes(piece), at)),
        (os, "ftruncate", of_segment("length")),
        (os, "fdatasync", of_segment("sync")),
        (os, "fsync", of_sync),
        (LmdbEnvironment, "_commit", of_commit),
        (LmdbEnvironment, "sync", lambda env: ("metasync", None, None)),
    ]:
        stack.enter_context(mock.patch.object(module, name, record(getattr(module, name), event_of)))
    unlink = Path.unlink

    def recorded_unlink(file, missing_ok=False):
        unlink(file, missing_ok)
        if file.suffix == ".seg":
            events.append(("unlink", file.name, None))

    stack.enter_context(mock.patch.object(Path, "unlink", recorded_unlink))
    return events


def _file_of(descriptor):
    return Path(f"/proc/self/fd/{descriptor}").readlink()


class _File:
    """What is surely on the disk, and what was written since."""

    def __init__(self):
        self.synced, self.pending, self.named, self.unlinked = bytearray(), [], False, False

    def sync(self):
        for change in self.pending:
            _apply(self.synced, change)
        self.pending = []

    def after_the_loss(self, random):
        content = bytearray(self.synced)
        for change in self.pending:
            for part in _pages(change):
                if random.random() < 0.5:
                    _apply(content, part)
        return content


def _apply(content, change):
    verb, details = change
    if verb == "length":
        (length,) = details
        del content[length:]
        content.extend(bytes(length - len(content)))
    else:
        piece, at = details
        content.extend(bytes(max(0, at + len(piece) - len(content))))
        content[at : at + len(piece)] = piece


def _pages(change):
    verb, details = change
    if verb == "length":
        return [change]
    piece, at = details
    return [(verb, (piece[start : start + PAGE_BYTES], at + start)) for start in range(0, len(piece), PAGE_BYTES)]


def _build(store, events, cut, random):
    """The directory as a loss of power after that many events may leave it."""
    files = {}
    for verb, name, details in events[:cut]:
        if verb in ("write", "length"):
            files.setdefault(name, _File()).pending.append((verb, details))
        elif verb == "sync":
            files[name].sync()
        elif verb == "unlink":
            files[name].unlinked = True
        elif verb == "names":
            files = {known: file for known, file in files.items() if not file.unlinked}
            for file in files.values():
                file.named = True
    (store / "index").mkdir(parents=True)
    (store / "segments").mkdir()
    for name, file in files.items():
        is_sure = file.named and not file.unlinked
        if is_sure or random.random() < 0.5:
            (store / "segments" / name).write_bytes(file.after_the_loss(random))
    if (index := _index_after_the_loss(events, cut, random)) is not None:
        (store / "index" / "data.mdb").write_bytes(index)


def _index_after_the_loss(events, cut, random):
    places = [place for place, (verb, _, _) in enumerate(events) if verb == "commit"]
    before = [place for place in places if place < cut]
    if not before:
        return None
    index = bytearray(events[before[-1]][2])
    behind = [verb for verb, _, _ in events[before[-1] + 1 : cut]]
    if len(before) > 1 and "metasync" not in behind and random.random() < 0.5:
        older = events[before[-2]][2]
        for page in range(2):  # one of them is new
            index[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = older[page * PAGE_BYTES : (page + 1) * PAGE_BYTES]
    coming = next((events[place][2] for place in places if place >= cut), b"")
    for at in range(2 * PAGE_BYTES, len(coming), PAGE_BYTES):
        if random.random() < 0.3:
            _apply(index, ("write", (coming[at : at + PAGE_BYTES], at)))
    return index


def _problems(path, events):
    acknowledged = [(verb, keys) for verb, keys, _ in events if verb in ("put", "pin", "delete")]
    puts = [keys for verb, keys in acknowledged if verb == "put"]
    pinned = [keys for verb, keys in acknowledged if verb == "pin"]
    deleted = [each for verb, keys in acknowledged if verb == "delete" for each in keys]
    with DiskTier(path, CAPACITY) as tier:
        for keys in [*puts[-MOST_AFTER:], *pinned]:
            if (held := tier.match(keys)) < len(keys):
                yield f"{len(keys) - held} acknowledged chunks are lost"
        if any(not tier.entry(each).pinned for keys in pinned for each in keys if tier.entry(each)):
            yield "a pin is lost"
        if any(tier.get(each) is not None for each in deleted):
            yield "what was deleted is back"
        for entry in tier.entries():
            view = tier.get(entry.key)
            if view is None or view != frame(entry.key, FRAME_BYTES):
                yield "what is visible is not whole"
        if tier.put(frames([key("new")], FRAME_BYTES)) != 1:
            yield "nothing can be put any more"
    if list(path.glob("index.damaged-*")):
        yield "a loss of power is no damage, and yet the index was set aside"
