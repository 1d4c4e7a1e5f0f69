"""One hypothesis profile for everybody: no deadlines, a modest number of examples. And Triton without a GPU."""

import os
from pathlib import Path

from hypothesis import HealthCheck, settings

if not Path("/dev/nvidiactl").exists():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported, which torch may do

settings.register_profile(
    "ci",
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],  # contracts are inherited
)
settings.load_profile("ci")
