"""Codecs as a benchmark's command line names them: `name:parameter=value:...`, with the profile filled in."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from codec import Codec, Profile, Transform, codec_from, register
from codec.transform import PROGRESSIVE

_FINER, _COARSER = 0.7, 1.6  # of the levels `high` and `small`: KL 0.0015 and 0.1, since it grows with step²


def profiles_from(files: Sequence[Path]) -> dict[str, Profile]:
    """Registered, by the files' names. Raises MissingProfile and CorruptFrame."""
    return {file.stem: register(Profile.load(file)) for file in files}


@dataclass(frozen=True)
class Reading:
    """A codec, and the quality that its frames are read at where it is not their own."""

    codec: Codec
    quality: str | None = None


def readings_named(names: Sequence[str], profiles: Mapping[str, Profile]) -> dict[str, Reading]:
    """As `codecs_named`; a name may end in `:read=<quality>`."""
    read = {name: name.partition(":read=")[::2] for name in names}
    codecs = {name: codecs_named([codec], profiles) for name, (codec, _) in read.items()}
    return {
        f"{shown}:read={read[name][1]}" if read[name][1] else shown: Reading(codec, read[name][1] or None)
        for name, shown_codecs in codecs.items()
        for shown, codec in shown_codecs.items()
    }


def codecs_named(names: Sequence[str], profiles: Mapping[str, Profile]) -> dict[str, Codec]:
    """The codecs by name; `transform` without a profile of its own takes every one of `profiles`.

    With several of them their names become part of the codec's: `transform@<profile>:quality=small`.
    """
    codecs: dict[str, Codec] = {}
    for name in names:
        codec_id, _, settings = name.partition(":")
        if codec_id != Transform.id or "profile=" in settings or not profiles:
            codecs[name] = codec_named(name)
            continue
        for of_file, profile in profiles.items():
            shown = name if len(profiles) == 1 else f"{codec_id}@{of_file}:{settings}".rstrip(":")
            codecs[shown] = codec_named(f"{name}:profile={profile.fingerprint}")
    return codecs


def codec_named(text: str) -> Codec:
    """The codec of `name` or `name:parameter=value:...`; values are JSON where they can be, text where not."""
    name, *settings = text.split(":")
    pairs = [setting.partition("=") for setting in settings]
    return codec_from(name, {parameter: _value(parameter, value) for parameter, _, value in pairs})


def qualities_of(profile: Profile) -> list[str]:
    """`transform` at the profile's levels and at steps between and beyond them, the finest first."""
    levels = dict(sorted(profile.levels.items(), key=lambda level: level[1]))
    steps = list(levels.values())
    between = [math.sqrt(low * high) for low, high in pairwise(steps)]
    numbers = [_FINER * steps[0], *between, _COARSER * steps[-1]] if steps else []
    points = [*levels.items(), *((str(float(f"{step:.3g}")), step) for step in numbers)]
    return [f"{Transform.id}:quality={quality}" for quality, _ in sorted(points, key=lambda point: point[1])]


def progressive_readings() -> list[str]:
    """One progressive frame, read whole and in part."""
    return [f"{Transform.id}:quality={PROGRESSIVE}{read}" for read in ("", ":read=balanced", ":read=small")]


def _value(parameter: str, text: str) -> Any:
    if parameter == "profile":
        return text  # a fingerprint may look like a number
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return float(value) if parameter == "quality" and type(value) is int else value
