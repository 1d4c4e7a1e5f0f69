"""One batch of fuzzed frames in this process: what was taken, what was refused, and what went wrong."""

import resource
import time
import warnings
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from codec import avx2
from tests.fuzz.subjects import REFUSALS

SLOWEST_S = 1.0
_GROWTH_BYTES = 32 << 20


@dataclass(frozen=True)
class Batch:
    """Frames [first, end) of one subject, decoded with AVX2 (where there is any) or the portable loop."""

    seed: int
    subject: str
    first: int
    end: int
    avx2: bool


@dataclass(frozen=True)
class Finding:
    """A frame with which something happened that must not."""

    seed: int
    subject: str
    index: int
    what: str
    content: bytes


@dataclass
class Tally:
    """What became of some frames of one subject."""

    frames: int = 0
    accepted: int = 0
    refused: Counter = field(default_factory=Counter)
    slowest_s: float = 0.0
    slowest_index: int = 0
    peak_rss_bytes: int = 0
    findings: list = field(default_factory=list)

    def add(self, other):
        self.frames += other.frames
        self.accepted += other.accepted
        self.refused += other.refused
        self.findings += other.findings
        self.peak_rss_bytes = max(self.peak_rss_bytes, other.peak_rss_bytes)
        if other.slowest_s > self.slowest_s:
            self.slowest_s, self.slowest_index = other.slowest_s, other.slowest_index


def frame_of(subject, seed, index):
    """Frame `index` of a subject under a seed, and what its `attempt` needs beside it."""
    return subject.next(Random(f"{seed} {subject.name} {index}"))


def run_batch(batch, subject, about_to=lambda index, content: None):
    """The tally of a batch. `about_to` is called with each frame before it is decoded."""
    tally = Tally()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here on
    with _loop(batch.avx2), warnings.catch_warnings():
        warnings.simplefilter("error")
        for index in range(batch.first, batch.end):
            content, beside = frame_of(subject, batch.seed, index)
            about_to(index, content)
            what = _attempt(subject, content, beside, index, tally)
            if what is not None:
                tally.findings.append(Finding(batch.seed, subject.name, index, what, content))
    return tally


def warm_up(subjects):
    """Everything once as it was encoded: what is compiled or fitted on first use is no slow frame."""
    for with_avx2 in (True, False):
        with _loop(with_avx2):
            for subject in subjects.values():
                for content, beside in subject.originals():
                    with suppress(REFUSALS):  # some come from encoders that lied
                        subject.attempt(content, beside)


@contextmanager
def _loop(with_avx2):
    """Inside, frames are decoded with AVX2 (where there is any), or by the portable loops."""
    has_avx2, avx2.HAS_AVX2 = avx2.HAS_AVX2, avx2.HAS_AVX2 and with_avx2
    try:
        yield
    finally:
        avx2.HAS_AVX2 = has_avx2


def _attempt(subject, content, beside, index, tally):
    """Counts one frame; None, or what was wrong with it."""
    before_bytes, began, what = peak_rss_bytes(), time.thread_time(), None
    try:
        subject.attempt(content, beside)
        tally.accepted += 1
    except REFUSALS as refusal:
        tally.refused[type(refusal).__name__] += 1
    except Exception as error:  # reported, whatever it is
        what = f"{type(error).__name__}: {error}"
    took_s = time.thread_time() - began  # of the processor: others may keep it from us
    tally.frames += 1
    tally.peak_rss_bytes = peak_rss_bytes()
    if took_s > tally.slowest_s:
        tally.slowest_s, tally.slowest_index = took_s, index
    if what is None and took_s > SLOWEST_S:
        what = f"took {took_s:.1f} s"
    if what is None and tally.peak_rss_bytes - before_bytes > _GROWTH_BYTES:
        what = f"took {(tally.peak_rss_bytes - before_bytes) >> 20} MiB of memory"
    return what


def peak_rss_bytes():
    """The most memory this process has had since the batch began."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
