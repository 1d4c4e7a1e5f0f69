"""The scheduler's side: what was promised is loaded, whatever else goes wrong."""

from types import SimpleNamespace

import pytest

from connectors.vllm.plan import Job, Plan, Scheduled

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


@pytest.mark.parametrize(
    ("num_computed", "num_scheduled", "of_prompt"),
    [(0, 100, 100), (64, 36, 36), (64, 40, 36), (100, 1, 0), (120, 4, 0)],
)
def test_tokens_of_answers_count_as_no_prompts(num_computed, num_scheduled, of_prompt):
    from connectors.vllm.scheduler import SchedulerSide

    side = SchedulerSide.__new__(SchedulerSide)
    side._requests = {"a": SimpleNamespace(num_prompt_tokens=100)}
    step = Scheduled(num_computed, num_scheduled, list)
    assert side._of_prompt("a", step) == of_prompt
    assert side._of_prompt("past the store", step) == 0
