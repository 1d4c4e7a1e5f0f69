"""A short fuzzing run in this process, and that the long one notices what goes wrong."""

import os
import signal
from random import Random

import numpy as np
import pytest

from tests.fuzz.batch import Batch, frame_of, run_batch
from tests.fuzz.room import Broken
from tests.fuzz.run import batches_of, run
from tests.fuzz.subjects import subjects

FRAMES = 250


@pytest.fixture(scope="module", params=["portable", "avx2"])
def loop(request):
    return request.param


@pytest.fixture(scope="module")
def made():
    return subjects()


NAMES = ("lossless", "int8", "int4", "cachegen-high", "cachegen-medium", "cachegen-low")
NAMES = (*NAMES, "transform", "transform-progressive", "header", "profile", "rans")


@pytest.mark.parametrize("name", NAMES)
def test_forged_and_damaged_frames_are_refused_or_legal(made, name, loop):
    first = FRAMES * (loop == "avx2")
    tally = run_batch(Batch(0, name, first, first + FRAMES, avx2=loop == "avx2"), made[name])
    assert [(finding.index, finding.what) for finding in tally.findings] == []
    assert tally.accepted
    assert tally.refused["CorruptFrame"]


def test_every_subject_is_tested(made):
    assert tuple(made) == NAMES


def test_a_frame_is_the_same_whenever_it_is_made(made):
    for subject in made.values():
        before = [frame_of(subject, 3, index) for index in range(20)]
        assert [frame_of(subject, 3, index) for index in range(20)] == before


class Dangerous:
    """Every eleventh frame does what its class says."""

    name = "dangerous"

    def next(self, random):
        return random.randbytes(4), None

    def originals(self):
        return []

    def attempt(self, content, beside):
        if content == Random("5 dangerous 10").randbytes(4):
            self.strike()


class Killed(Dangerous):
    def strike(self):
        os.kill(os.getpid(), signal.SIGSEGV)


class Raises(Dangerous):
    def strike(self):
        raise IndexError("beyond the end")


class Breaks(Dangerous):
    def strike(self):
        raise Broken("wrote what it must not")


class Hoards(Dangerous):
    def strike(self):
        self.hoard = np.ones(512 << 20, np.uint8)  # more than a machine may take back meanwhile


class Overflows(Dangerous):
    def strike(self):
        np.full(1, 3e38, np.float32) * np.float32(2)


@pytest.mark.parametrize("kind", [Raises, Breaks, Hoards, Overflows])
def test_a_frame_that_does_harm_is_found(kind):
    tally = run_batch(Batch(5, "dangerous", 0, 20, avx2=True), kind())
    assert [finding.index for finding in tally.findings] == [10]
    assert tally.frames == 20


def killed():
    return {"dangerous": Killed()}


def test_a_frame_that_kills_the_process_is_found_and_the_run_goes_on():
    tally = run(batches_of(5, {"dangerous": 1}, 1000), killed)["dangerous"]
    (finding,) = tally.findings
    assert (finding.seed, finding.index) == (5, 10)
    assert finding.content == Random("5 dangerous 10").randbytes(4)
    assert f"exit code {-signal.SIGSEGV}" in finding.what
    assert tally.frames == 11 + 500
