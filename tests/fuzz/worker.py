"""A child process that runs batches, so that whatever kills it leaves the frame behind that did.

Each frame lies in a shared file before it is decoded: u64 index, u64 length, bytes. The child may not take much
more memory than it has when it begins; where numba is to check bounds it says so before anything is compiled.
"""

import mmap
import os
import resource
import struct
import tempfile
from multiprocessing import get_context
from pathlib import Path

_SCRATCH_BYTES, _ROOM_BYTES = 1 << 20, 1 << 30
_HEADER = struct.Struct("<QQ")
_IDLE = (1 << 64) - 1


class Worker:
    """One child. `put` a batch, then wait for `replies`; `frame` is the one it is, or was, busy with."""

    def __init__(self, make_subjects, checks_bounds):
        self._make_subjects, self._checks_bounds = make_subjects, checks_bounds
        self._directory = tempfile.TemporaryDirectory(prefix="kvstore-fuzz-")
        path = Path(self._directory.name) / "frame"
        path.write_bytes(_HEADER.pack(_IDLE, 0) + bytes(_SCRATCH_BYTES))
        with path.open("r+b") as file:
            self._scratch = mmap.mmap(file.fileno(), 0)
        self._path, self.batch = path, None

    def start(self):
        context = get_context("spawn")
        self.replies, theirs = context.Pipe()
        arguments = (theirs, self._path, self._make_subjects, self._checks_bounds)
        self.process = context.Process(target=_serve, args=arguments, daemon=True)
        self.process.start()
        theirs.close()

    def put(self, batch):
        self.batch = batch
        self._scratch[: _HEADER.size] = _HEADER.pack(_IDLE, 0)
        self.replies.send(batch)

    def frame(self):
        """Index of the frame, None where none was begun, and its bytes."""
        index, length = _HEADER.unpack_from(self._scratch)
        content = self._scratch[_HEADER.size : _HEADER.size + min(length, _SCRATCH_BYTES)]
        return (None if index == _IDLE else index), content

    def stop(self):
        self.process.kill()
        self.process.join()
        self.replies.close()

    def close(self):
        self.stop()
        self._scratch.close()
        self._directory.cleanup()


def every_subject():
    from tests.fuzz.subjects import subjects  # compiles: in a child, after numba is set up

    return subjects()


def _serve(replies, path, make_subjects, checks_bounds):
    if checks_bounds:  # bounds-checked code must not be taken for the other, nor the other for it
        os.environ |= {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(path.parent / "numba")}
    import torch

    from tests.fuzz.batch import run_batch, warm_up

    torch.set_num_threads(1)
    subjects = make_subjects()
    warm_up(subjects)
    _limit_memory()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as scratch:

        def about_to(index, content):
            content = content[:_SCRATCH_BYTES]
            scratch[_HEADER.size : _HEADER.size + len(content)] = content
            scratch[: _HEADER.size] = _HEADER.pack(index, len(content))

        while True:
            try:
                batch = replies.recv()
            except EOFError:
                return
            replies.send(run_batch(batch, subjects[batch.subject], about_to))


def _limit_memory():
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
