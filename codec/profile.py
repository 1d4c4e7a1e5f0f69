"""Profile: what the `transform` codec knows of one model, made once by calibration and named by its content.

A profile is a frame file without tokens (see frame.py: checksums, any safetensors reader opens it), so a
store can keep it beside what was coded with it. Its fingerprint is the SHA-256 of the file; every frame
carries it, and decoding needs that very profile: `register` it first. Sections: per layer, for `k` and `v`,
the four arrays of a `Basis`; `tables.frequencies` and `tables.choices` as `ColumnTables` has them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from codec.basis import Basis
from codec.column_tables import ColumnTables
from codec.errors import CorruptFrame, MissingProfile, SpecMismatch
from codec.frame import Buffer, Frame, pack
from codec.rotary import Rotary
from codec.spec import KVSpec

_KIND = "transform.profile"
_SETTINGS = {"sinks", "dead_zone", "levels"}
_UINT16, _FLOAT16, _FLOAT32 = np.dtype("<u2"), np.dtype("<f2"), np.dtype("<f4")


@dataclass(frozen=True, eq=False)
class Profile:
    """The calibrated numbers of one model. Raises UnsupportedRotary when its keys cannot be moved."""

    spec: KVSpec
    """The model it was calibrated on. Any model with the same layer groups can be coded with it, at
    whatever loss that is: calibration promises nothing for another one's weights."""
    keys: tuple[Basis, ...]
    values: tuple[Basis, ...]
    tables: ColumnTables
    levels: Mapping[str, float]
    """Step sizes by name of quality."""
    sinks: int = 1
    """Tokens at the beginning of a prompt that are stored exactly: what all attend to (StreamingLLM,
    arXiv 2309.17453) is worth its bytes."""
    dead_zone: float = 0.0
    """How much further than half a step from zero a number must be to count as one, in steps."""

    @cached_property
    def rotary(self) -> tuple[Rotary, ...]:
        """By layer."""
        groups = {id(group): Rotary.of(group) for group in self.spec.groups}
        return tuple(groups[id(group)] for group in self.spec.group_of)

    def __post_init__(self) -> None:
        _ = self.rotary

    def require(self, spec: KVSpec) -> None:
        """Raises SpecMismatch when `spec` has other layers, heads, sizes or rotary embedding."""
        if spec.groups != self.spec.groups:
            raise SpecMismatch(f"profile {self.fingerprint[:12]} of {self.spec.model} does not fit {spec.model}")

    @cached_property
    def content(self) -> bytes:
        """The bytes of the file."""
        sections = {
            f"{layer}.{part}.{name}": getattr(basis, name)
            for layer, pair in enumerate(zip(self.keys, self.values, strict=True))
            for part, basis in zip("kv", pair, strict=True)
            for name in ("mean", "directions", "gains", "deviations")
        }
        sections |= {"tables.frequencies": self.tables.frequencies, "tables.choices": self.tables.choices}
        settings = {"sinks": self.sinks, "dead_zone": self.dead_zone, "levels": dict(self.levels)}
        return bytes(pack(self.spec, "", 0, 1, _KIND, settings, sections))

    @cached_property
    def fingerprint(self) -> str:
        """64 hex digits."""
        return hashlib.sha256(self.content).hexdigest()

    @classmethod
    def from_content(cls, content: Buffer) -> Profile:
        """The profile of a file's bytes. Raises CorruptFrame when they are damaged or no profile."""
        frame = Frame(content)
        header = frame.header
        settings = header.codec_params
        if header.codec != _KIND or settings.keys() != _SETTINGS:
            raise CorruptFrame(f"not a profile but a frame of codec {header.codec!r}")
        sizes = [(group.kv_heads * group.key_dim, group.kv_heads * group.value_dim) for group in header.spec.group_of]
        tables = ColumnTables(_table(frame, "tables.frequencies"), _table(frame, "tables.choices"))
        keys = tuple(_basis(frame, f"{layer}.k", size) for layer, (size, _) in enumerate(sizes))
        values = tuple(_basis(frame, f"{layer}.v", size) for layer, (_, size) in enumerate(sizes))
        return cls(header.spec, keys, values, tables, **_checked(settings))

    def save(self, path: Path) -> None:
        """Writes the file whole or not at all."""
        unfinished = path.with_name(f"{path.name}.unfinished")
        unfinished.write_bytes(self.content)
        unfinished.replace(path)

    @classmethod
    def load(cls, path: Path) -> Profile:
        """The profile in a file. Raises MissingProfile when it cannot be read, CorruptFrame when it is none."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise MissingProfile(f"no profile at {path}: {error.strerror}; `kvstore calibrate` makes one") from error
        return cls.from_content(content)


def _table(frame: Frame, name: str) -> np.ndarray:
    section = frame.header.sections.get(name)
    if section is None:
        raise CorruptFrame(f"the profile has no {name}")
    return frame.section(name, _UINT16, section.shape)


def _basis(frame: Frame, name: str, dim: int) -> Basis:
    basis = Basis(
        frame.section(f"{name}.mean", _FLOAT32, (dim,)),
        frame.section(f"{name}.directions", _FLOAT16, (dim, dim)),
        frame.section(f"{name}.gains", _FLOAT32, (dim,)),
        frame.section(f"{name}.deviations", _FLOAT32, (dim,)),
    )
    finite = all(np.isfinite(array).all() for array in (basis.mean, basis.directions, basis.gains, basis.deviations))
    if not finite or basis.deviations.min() < 0:
        raise CorruptFrame(f"the basis {name} holds numbers that no calibration gives")
    return basis


def _checked(settings: Mapping[str, object]) -> dict[str, Any]:
    sinks, dead_zone, levels = settings["sinks"], settings["dead_zone"], settings["levels"]
    if (
        type(sinks) is not int
        or not 0 <= sinks <= 1 << 16
        or type(dead_zone) is not float
        or not -0.5 < dead_zone < 0.5
    ):
        raise CorruptFrame(f"the profile's settings make no sense: {dict(settings)}")
    if type(levels) is not dict or not all(type(step) is float and 0 < step < np.inf for step in levels.values()):
        raise CorruptFrame(f"the profile's levels make no sense: {levels!r}")
    return dict(settings)
