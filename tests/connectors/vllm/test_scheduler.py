"""The scheduler's side: what was promised is loaded, whatever else goes wrong."""

from types import SimpleNamespace

import pytest

from connectors.vllm.plan import Job, Plan

pytest.importorskip("vllm", reason="vLLM is not installed")


class BrokenPlan(Plan):
    """Has a load, and fails at everything else."""

    def __init__(self):
        self.loads = (Job(1, "a", 0, ()),)

    def take_loads(self):
        return self.loads

    def saves(self, scheduled):
        raise RuntimeError("as nobody foresaw")


def test_a_save_that_fails_takes_no_load_with_it():
    from connectors.vllm.scheduler import SchedulerSide

    side = SchedulerSide.__new__(SchedulerSide)  # its own start needs an engine
    side._plan = BrokenPlan()
    output = SimpleNamespace()  # without anything that a step of vLLM has
    step = side.step(output)
    assert step.loads == side._plan.loads
    assert step.saves == ()
