"""A codec's profile, kept by a tier beside the frames that need it, and found there by whoever reads them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from codec import Codec, CorruptFrame, Profile, Transform, UnsupportedRotary, codec_from, register, registered
from kvstore.errors import MissingProfile
from kvstore.tier import Tier


def profile_named(codec_id: str, params: Mapping[str, Any]) -> str | None:
    """The fingerprint that a codec's parameters name, as they say it; None where the codec needs no profile."""
    named = params.get("profile") if codec_id == Transform.id else None
    return named if isinstance(named, str) else None


def profile_in(tier: Tier, fingerprint: str) -> Profile:
    """The profile, registered; taken from the tier when this process does not have it yet.

    Raises MissingProfile when it is in neither, or what the tier holds is damaged or no profile.
    """
    with suppress(MissingProfile):
        return registered(fingerprint)
    content = tier.profile(fingerprint)
    if content is None:
        return registered(fingerprint)
    try:
        profile = Profile.from_content(content)
    except (CorruptFrame, UnsupportedRotary) as error:
        raise MissingProfile(f"profile {fingerprint[:12]} of the {tier.name} tier is of no use: {error}") from error
    if profile.fingerprint != fingerprint:
        raise MissingProfile(f"profile {fingerprint[:12]} of the {tier.name} tier is written as none is")
    return register(profile)


def codec_in(tier: Tier, codec_id: str, params: Mapping[str, Any]) -> Codec:
    """As `codec_from`, with the profile found in the tier where the codec needs one."""
    find_profile(tier, codec_id, params)
    return codec_from(codec_id, params)


def find_profile(tier: Tier, codec_id: str, params: Mapping[str, Any]) -> None:
    """Registers the profile that a codec's parameters name, if they name one. Raises as `profile_in`."""
    fingerprint = profile_named(codec_id, params)
    if fingerprint:
        profile_in(tier, fingerprint)
