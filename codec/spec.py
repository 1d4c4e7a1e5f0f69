"""KVSpec: everything that must be equal for two KV arrays to be interchangeable.

Keys and values are functions of the weights, the arithmetic and the positions. Two engines whose
specs have the same fingerprint may read each other's KV; any difference makes it somebody else's.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from codec.errors import CorruptFrame

DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
_MAX_LAYERS, _MAX_DIM = 4096, 1 << 16


@dataclass(frozen=True)
class LayerGroup:
    """Layers whose keys and values have the same shape, reach and rotary embedding."""

    layers: tuple[int, ...]
    kv_heads: int
    key_dim: int
    value_dim: int
    window: int | None = None
    """How many tokens back a token of these layers sees, itself included; None sees everything."""
    rotary: dict[str, Any] = field(default_factory=dict, hash=False)
    """Rotary embedding parameters as the model's configuration names them; empty where there is none."""

    def __post_init__(self) -> None:
        _require(int, *self.layers, self.kv_heads, self.key_dim, self.value_dim, self.window or 0)
        _require(dict, self.rotary)
        sizes = (self.kv_heads, self.key_dim, self.value_dim, 1 if self.window is None else self.window)
        if not self.layers or min(sizes) < 1 or max(sizes[:3]) > _MAX_DIM:
            raise ValueError(f"a layer group needs layers and positive sizes, got {self}")


@dataclass(frozen=True)
class KVSpec:
    """Identity of the KV that one model, in one precision, on one tensor-parallel shard, computes."""

    model: str
    revision: str
    """Commit of the checkpoint, or a digest of its weights where there is no commit."""
    dtype: str
    """One of bfloat16, float16, float32: the dtype of the stored keys and values."""
    groups: tuple[LayerGroup, ...]
    tp_rank: int = 0
    tp_size: int = 1

    def __post_init__(self) -> None:
        _require(str, self.model, self.revision, self.dtype)
        _require(int, self.tp_rank, self.tp_size)
        if self.dtype not in DTYPE_BYTES:
            raise ValueError(f"dtype {self.dtype!r} is not supported; use one of {sorted(DTYPE_BYTES)}")
        layers = sorted(layer for group in self.groups for layer in group.layers)
        if not layers or layers != list(range(len(layers))) or len(layers) > _MAX_LAYERS:
            raise ValueError(f"layer groups must cover layers 0..n-1 exactly once, got {layers}")
        if not 0 <= self.tp_rank < self.tp_size:
            raise ValueError(f"tp_rank {self.tp_rank} is not inside tp_size {self.tp_size}")

    @property
    def num_layers(self) -> int:
        return len(self.group_of)

    @cached_property
    def group_of(self) -> tuple[LayerGroup, ...]:
        """The group of each layer, by layer number."""
        by_layer = {layer: group for group in self.groups for layer in group.layers}
        return tuple(by_layer[layer] for layer in range(len(by_layer)))

    @cached_property
    def bytes_per_token(self) -> int:
        """Bytes of one token's keys and values over all layers, uncompressed, in this dtype."""
        elements = sum(group.kv_heads * (group.key_dim + group.value_dim) for group in self.group_of)
        return elements * DTYPE_BYTES[self.dtype]

    def to_json(self) -> str:
        """Canonical JSON: the same text for equal specs, in every process."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> KVSpec:
        """The spec that `to_json` wrote. Raises CorruptFrame when the text is anything else."""
        try:
            fields = json.loads(text)
            groups = tuple(LayerGroup(**{**group, "layers": tuple(group["layers"])}) for group in fields.pop("groups"))
            spec = cls(groups=groups, **fields)
            well_formed = spec.to_json() == text
            _ = spec.fingerprint()  # here, where JSON that is nested too deeply is expected
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise CorruptFrame(f"not a KV spec: {error}") from error
        if not well_formed:
            raise CorruptFrame("not a KV spec in canonical form")
        return spec

    @cached_property
    def _fingerprint(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def fingerprint(self) -> str:
        """64 hex digits (SHA-256 of the canonical JSON), equal exactly when the specs are."""
        return self._fingerprint


def _require(kind: type, *values: object) -> None:
    """The fingerprint is a hash of text, in which 1, 1.0 and True would be three models."""
    for value in values:
        if type(value) is not kind:
            raise TypeError(f"a KV spec needs {kind.__name__} where it was given {value!r}")
