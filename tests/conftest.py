"""One hypothesis profile for everybody: no deadlines, a modest number of examples."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci",
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],  # contracts are inherited
)
settings.load_profile("ci")
