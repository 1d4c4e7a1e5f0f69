"""Profile: what the `transform` codec knows of one model, made once by calibration and named by its content.

A profile is a frame file without tokens (see frame.py: checksums, any safetensors reader opens it), so a
store can keep it beside what was coded with it. Its fingerprint is the SHA-256 of the file; every frame
carries it, and decoding needs that very profile: `register` it first. Sections: per band, under its first
layer, `emphasis` and, for every block, the four arrays of a `Basis`; `tables.symbols` and `tables.side` as
`ColumnTables` has them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from codec.band import BLOCKS, Band, bands_of, block_dims
from codec.basis import Basis
from codec.column_tables import ColumnTables
from codec.emphasis import Emphasis
from codec.errors import CorruptFrame, MissingProfile, SpecMismatch
from codec.frame import Buffer, Frame, pack
from codec.rotary import Rotary, rotary_of_layers
from codec.spec import KVSpec

_KIND = "transform.profile"
_SETTINGS = {"layers_together", "blocks", "sinks", "levels"}
_MOST_SINKS = 1 << 16
_LARGEST_WEIGHT = 1e6  # octaves of sensitivity per deviation; so that no sum of a token's is infinite
_UINT16, _FLOAT16, _FLOAT32 = np.dtype("<u2"), np.dtype("<f2"), np.dtype("<f4")


@dataclass(frozen=True, eq=False)
class Profile:
    """The calibrated numbers of one model. Raises UnsupportedRotary when its keys cannot be moved."""

    spec: KVSpec
    """The model it was calibrated on. Any model with the same layer groups can be coded with it, at
    whatever loss that is: calibration promises nothing for another one's weights."""
    bands: tuple[Band, ...]
    """All layers, from the first."""
    layers_together: int
    """Layers of a band; the last may have fewer."""
    blocks: str
    """What one basis spans, one of `BLOCKS`."""
    tables: ColumnTables
    levels: Mapping[str, float]
    """Step sizes by name of quality."""
    sinks: int = 1
    """Tokens at the beginning of a prompt that are stored exactly: what all attend to (StreamingLLM,
    arXiv 2309.17453) is worth its bytes."""

    @cached_property
    def rotary(self) -> tuple[Rotary, ...]:
        """By layer."""
        return rotary_of_layers(self.spec)

    def __post_init__(self) -> None:
        _ = self.rotary

    def require(self, spec: KVSpec) -> None:
        """Raises SpecMismatch when `spec` has other layers, heads, sizes or rotary embedding."""
        if spec.groups != self.spec.groups:
            raise SpecMismatch(f"profile {self.fingerprint[:12]} of {self.spec.model} does not fit {spec.model}")

    @cached_property
    def content(self) -> bytes:
        """The bytes of the file."""
        sections = {}
        for band in self.bands:
            sections[f"{band.first}.emphasis"] = band.emphasis.weights
            for block, basis in enumerate(band.bases):
                for name in ("mean", "directions", "gains", "deviations"):
                    sections[f"{band.first}.{block}.{name}"] = getattr(basis, name)
        sections |= {"tables.symbols": self.tables.frequencies, "tables.side": self.tables.side}
        settings = {
            "layers_together": self.layers_together,
            "blocks": self.blocks,
            "sinks": self.sinks,
            "levels": dict(self.levels),
        }
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
        checked = _checked(settings)
        tables = ColumnTables(_table(frame, "tables.symbols"), _table(frame, "tables.side"))
        layers = bands_of(header.spec.num_layers, checked["layers_together"])
        bands = tuple(_band(frame, first, end, checked["blocks"]) for first, end in layers)
        return cls(header.spec, bands, tables=tables, **checked)

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


def _band(frame: Frame, first: int, end: int, blocks: str) -> Band:
    dims = block_dims(frame.header.spec, first, end, blocks)
    bases = tuple(_basis(frame, f"{first}.{block}", dim) for block, dim in enumerate(dims))
    weights = frame.section(f"{first}.emphasis", _FLOAT32)
    if weights.size % 2 != 1 or weights.size > 2 * sum(dims) + 1 or not np.all(np.abs(weights) <= _LARGEST_WEIGHT):
        raise CorruptFrame(f"the emphasis of layer {first} is none that a calibration gives")
    return Band(first, end, bases, Emphasis(weights))


def _checked(settings: Mapping[str, object]) -> dict[str, Any]:
    layers_together, blocks, sinks = settings["layers_together"], settings["blocks"], settings["sinks"]
    levels = settings["levels"]
    if type(layers_together) is not int or layers_together < 1 or blocks not in BLOCKS:
        raise CorruptFrame(f"the profile's bands make no sense: {dict(settings)}")
    if type(sinks) is not int or not 0 <= sinks <= _MOST_SINKS:
        raise CorruptFrame(f"the profile's sinks make no sense: {sinks!r}")
    if type(levels) is not dict or not all(type(step) is float and 0 < step < np.inf for step in levels.values()):
        raise CorruptFrame(f"the profile's levels make no sense: {levels!r}")
    return dict(settings)
