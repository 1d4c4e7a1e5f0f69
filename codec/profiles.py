"""Which profiles this process has: registered by whoever loaded them, found by fingerprint."""

from __future__ import annotations

from codec.errors import MissingProfile
from codec.profile import Profile

_REGISTERED: dict[str, Profile] = {}


def register(profile: Profile) -> Profile:
    """Makes a profile known to every codec of this process. Safe to repeat; returns the one that is known."""
    return _REGISTERED.setdefault(profile.fingerprint, profile)


def registered(fingerprint: str) -> Profile:
    """The profile of that fingerprint. Raises MissingProfile when nobody registered it."""
    profile = _REGISTERED.get(fingerprint)
    if profile is None:
        raise MissingProfile(
            f"profile {fingerprint[:12]} is not loaded: register it, or make one by `kvstore calibrate`"
        )
    return profile
