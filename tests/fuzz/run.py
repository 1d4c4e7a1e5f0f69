"""A fuzzing run: batches to child processes, tallies back, dead and stuck children told from well ones."""

import time
from collections import deque
from multiprocessing.connection import wait

from tests.fuzz.batch import Batch, Finding, Tally
from tests.fuzz.worker import Worker

BATCH_FRAMES, STUCK_S, MAX_FINDINGS = 500, 60.0, 200


def batches_of(seed, shares, num_frames):
    """Batches in the order to run them: subjects by their `shares` (name to weight), decoding loops in turn."""
    total, batches = sum(shares.values()), []
    for subject, share in shares.items():
        count = -(-num_frames * share // total)
        for number, first in enumerate(range(0, count, BATCH_FRAMES)):
            batch = Batch(seed, subject, first, min(first + BATCH_FRAMES, count), avx2=number % 2 == 0)
            batches.append((first / count, batch))
    return [batch for _, batch in sorted(batches, key=lambda placed: placed[0])]


def run(batches, make_subjects, num_workers=1, on_progress=lambda tally: None, until_s=None):
    """Tallies by subject. The first worker of every two has numba check bounds; `until_s` ends it early.

    `make_subjects` is a function that a child process can import; it returns the subjects by name.
    """
    waiting, tallies = deque(batches), {batch.subject: Tally() for batch in batches}
    workers = [Worker(make_subjects, checks_bounds=number % 2 == 0) for number in range(min(num_workers, len(batches)))]
    try:
        for worker in workers:
            worker.start()
            worker.put(waiting.popleft())
        busy, seen = list(workers), {}
        while busy:
            replied = wait([worker.replies for worker in busy], timeout=1.0)
            for worker in list(busy):
                tally = _tally_of(worker, worker.replies in replied, seen)
                if tally is None:
                    continue
                tallies[worker.batch.subject].add(tally)
                on_progress(tally)
                ended = until_s is not None and time.monotonic() > until_s
                num_findings = sum(len(tally.findings) for tally in tallies.values())
                if waiting and not ended and num_findings < MAX_FINDINGS:
                    worker.put(waiting.popleft())
                else:
                    busy.remove(worker)
    finally:
        for worker in workers:
            worker.close()
    return tallies


def _tally_of(worker, replied, seen):
    """What a worker has to say of its batch, or what its silence says; None while it is at work."""
    if replied:
        try:
            return worker.replies.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            return _killed_by(worker, f"the process died with exit code {worker.process.exitcode}")
    index, _ = worker.frame()
    now, place = time.monotonic(), (worker.batch, index)
    if seen.get(worker, (None, 0.0))[0] != place:
        seen[worker] = place, now
    if index is not None and now - seen[worker][1] > STUCK_S:
        return _killed_by(worker, f"not done after {STUCK_S:g} s")
    return None


def _killed_by(worker, what):
    """The tally of a batch that ended with its process; another process takes its place."""
    index, content = worker.frame()
    batch = worker.batch
    worker.stop()
    worker.start()
    at = batch.first if index is None else index
    return Tally(frames=at + 1 - batch.first, findings=[Finding(batch.seed, batch.subject, at, what, content)])
