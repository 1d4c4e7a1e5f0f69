"""Which codec a store codes with: the one named, or, under `auto`, `transform` where its profile is at hand.

A model's profile is at hand when `store.profile` names a file whose layers fit; else when it was calibrated
on the very same spec (weights, dtype, layers) and lies in the profile directory, under `profile_path`, or in
the store itself, where an earlier process kept it. The directory comes before the store, so that a new
calibration counts; of several in a store the newest. Without one, `auto` is `lossless`.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from codec import (
    Codec,
    CorruptFrame,
    KVSpec,
    Lossless,
    MissingProfile,
    Profile,
    SpecMismatch,
    Transform,
    UnsupportedRotary,
    codec_from,
    register,
)
from kvstore import Tier, profile_in

AUTO = "auto"
_log = logging.getLogger(__name__)


def profile_path(directory: Path, spec: KVSpec) -> Path:
    """Where the profile of that very spec is looked for: its model's name and 12 digits of its fingerprint."""
    name = re.sub(r"[^\w.-]+", "--", spec.model, flags=re.ASCII)[-80:]
    return directory / f"{name}-{spec.fingerprint()[:12]}.safetensors"


def gate_path(directory: Path, spec: KVSpec) -> Path:
    """Where the gate's verdict on that very spec is kept."""
    return profile_path(directory, spec).with_suffix(".gate.json")


def profile_at_hand(directory: Path, spec: KVSpec) -> Profile | None:
    """The profile in the directory that was calibrated on that very spec; one that is damaged is none."""
    path = profile_path(directory, spec)
    try:
        profile = Profile.load(path)
    except MissingProfile:
        return None
    except (CorruptFrame, UnsupportedRotary) as error:
        _log.warning("the profile %s is left out: %s", path, error)
        return None
    return profile if profile.spec == spec else None


def choose_codec(
    name: str, quality: str, file: Path | None, directory: Path | None, spec: KVSpec | None, store: Tier
) -> Codec:
    """The codec `name`, with a profile for `spec` where it needs one.

    `file` is the profile somebody named, `store` the tiers to be coded into. Raises MissingProfile when a
    profile is needed and not at hand, CorruptFrame when `file` is none, SpecMismatch when it is another model's.
    """
    if name not in (AUTO, Transform.id):
        return codec_from(name)
    profile = _named(name, file, spec) if file is not None else _found(directory, spec, store)
    if profile is not None:
        return codec_from(Transform.id, {"profile": register(profile).fingerprint, "quality": quality})
    if name == AUTO:
        return codec_from(Lossless.id)
    model = "the model" if spec is None else spec.model
    raise MissingProfile(
        f"store.codec is transform, which needs store.profile, or one of {model} in {directory}: "
        "`kvstore calibrate` makes one"
    )


def _named(name: str, file: Path, spec: KVSpec | None) -> Profile | None:
    profile = Profile.load(file)
    try:
        if spec is not None:
            profile.require(spec)
    except SpecMismatch as error:
        if name != AUTO:
            raise
        _log.warning("coding without loss: %s", error)
        return None
    return profile


def _found(directory: Path | None, spec: KVSpec | None, store: Tier) -> Profile | None:
    if spec is None:
        return None
    profile = None if directory is None else profile_at_hand(directory, spec)
    return profile or next((held for held in _held(store) if held.spec == spec), None)


def _held(store: Tier) -> list[Profile]:
    profiles = []
    for fingerprint in store.profiles():
        try:
            profiles.append(profile_in(store, fingerprint))
        except MissingProfile as error:
            _log.warning("a profile of the store is left out: %s", error)
    return profiles
