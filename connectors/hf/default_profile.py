"""The profile that a model gets where nobody calibrated one: from texts at hand, kept for the next time."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import torch

from codec import Profile
from connectors.codec_choice import profile_at_hand, profile_path
from connectors.hf.calibrate import Step, calibrate, num_steps
from connectors.hf.corpora import windows_in_turn
from connectors.hf.spec import spec_of
from connectors.hf.texts_at_hand import texts_at_hand

_TEXTS, _HELD_OUT, _TOKENS = 20, 4, 768
DEFAULT_STEPS = num_steps(_TEXTS, _HELD_OUT)
"""How often `make_default_profile` reports progress."""


def default_profile(model: Any, directory: Path) -> Profile | None:
    """The profile in the directory that was calibrated on these very weights; None when there is none."""
    return profile_at_hand(directory, spec_of(model))


def make_default_profile(model: Any, tokenizer: Any, directory: Path, progress: Step) -> Profile:
    """Calibrates on texts at hand, in minutes for a small model, and leaves the profile in the directory.

    Raises UnsupportedRotary when the model's keys cannot be moved.
    """
    chosen = list(islice(windows_in_turn(tokenizer, texts_at_hand(), _TOKENS), _TEXTS + _HELD_OUT))
    torch.manual_seed(0)
    profile, _ = calibrate(model, chosen[:_TEXTS], chosen[_TEXTS:], progress)
    directory.mkdir(parents=True, exist_ok=True)
    profile.save(profile_path(directory, profile.spec))
    return profile
