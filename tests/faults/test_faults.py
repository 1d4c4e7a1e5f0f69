"""A short run of every kind of fault, and that a run notices what must not happen."""

import os
import signal
from random import Random

import pytest

from tests.faults.flips import Flips
from tests.faults.kills import Kills
from tests.faults.power import PowerLosses
from tests.faults.rounds import run_rounds


@pytest.mark.parametrize(("kind", "make", "rounds"), [("kills", Kills, 20), ("flips", Flips, 200)])
def test_nothing_is_lost_and_nothing_wrong_is_served(tmp_path, kind, make, rounds):
    assert run_rounds(kind, make(tmp_path, 1).attempt, range(rounds)) == []


def test_a_loss_of_power_loses_nothing_that_was_acknowledged(tmp_path):
    assert run_rounds("losses", PowerLosses(tmp_path, 1).attempt, range(60)) == []


def test_a_writer_that_did_not_sync_would_be_found_out(tmp_path):
    losses = PowerLosses(tmp_path, 1)
    losses._events = [event for event in losses._events if event[0] != "sync"]
    assert run_rounds("losses", losses.attempt, range(10))


def test_a_round_that_kills_its_process_is_found_and_the_run_goes_on():
    def attempt(number):
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return ["wrong"] if number == 5 else [] if number < 7 else {}["raises"]

    findings = run_rounds("any", attempt, range(8))
    assert [(finding.round, finding.what) for finding in findings] == [
        (3, f"the process died with exit code {-signal.SIGKILL}"),
        (5, "wrong"),
        (7, "KeyError: 'raises'"),
    ]


def test_power_that_goes_when_a_segment_was_just_removed_takes_nothing_with_it(tmp_path):
    losses, lost = PowerLosses(tmp_path, 1), []
    for cut, (verb, _, _) in enumerate(losses._events, start=1):
        if verb == "unlink":
            lost += losses.after(cut, Random(cut))
    assert lost == []
