"""Rounds in child processes: what each found, and which one its process died over."""

import os
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait

from tests.kvstore.children import child


@dataclass(frozen=True)
class Finding:
    """Something that must not happen."""

    kind: str
    round: int
    what: str


def run_rounds(kind, attempt, rounds, on_round=lambda: None):
    """Findings. `attempt(number)` gives what was wrong in a round, as texts; one child runs it until it dies."""
    findings, left = [], list(rounds)
    while left:
        with child(_serve, attempt, left) as (pipe, process):
            with suppress(EOFError):
                while left:
                    wait([pipe])
                    findings += [Finding(kind, left[0], what) for what in pipe.recv()]
                    left.pop(0)
                    on_round()
            process.join()
        if left:
            findings.append(Finding(kind, left.pop(0), f"the process died with exit code {process.exitcode}"))
            on_round()
    return findings


def _serve(pipe, attempt, rounds):
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 2)  # what LMDB says before it ends the process, and warnings of damage that is meant to be
    for number in rounds:
        try:
            pipe.send(attempt(number))
        except Exception as error:  # reported, whatever it is
            pipe.send([f"{type(error).__name__}: {error}"])
