"""A process that has no profile registered yet, as every new one."""

from contextlib import contextmanager

from codec import profiles, registry


@contextmanager
def forgetting():
    """No profile is registered inside; those that were are again behind it."""
    known = dict(profiles._REGISTERED)
    profiles._REGISTERED.clear()
    registry._codec.cache_clear()
    try:
        yield
    finally:
        profiles._REGISTERED.update(known)
