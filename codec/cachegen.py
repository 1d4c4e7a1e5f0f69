"""`cachegen`: the codec of CacheGen (arXiv 2310.07240, SIGCOMM 2024, section 5.2), our baseline.

One layer of one chunk, keys and values alike, as `[token, channel]` with the heads side by side:

1. Change-based encoding. Tokens stand in groups of ten. The first of a group is its anchor; the others
   are coded as their difference from the anchor *as decoded*, so that errors do not add up.
2. Layer-wise quantization. A vector (one token's channels) is divided by its largest magnitude
   and rounded to `bins // 2 - 1` steps on either side of zero. Anchors have 256 bins. Differences have
   fewer the deeper the layer: the first, middle and last third of the layers have the bins of `LEVELS`.
3. Arithmetic coding under a distribution per layer and channel, one for anchors, another for
   differences.

Bound: |x - x'| <= step / 2, where an anchor's step is at most its largest magnitude / 127, another
token's its largest difference / (bins // 2 - 1), each (1 + 2^-7) times that because steps are rounded
up to 8 significant bits; plus the rounding of float32 and of the spec's own dtype.

Where this differs from the paper, and why:

* The distributions. The paper profiles a table per layer and channel once for a model and ships it with
  the decoder. A frame here needs no profile: each channel names one of 16 Gaussians (half-octave steps
  of deviation), a nibble for its differences and one for its anchors. Profiled tables, themselves not
  counted, would save 0.07 to 0.09 bits per element, nearly all of it in the anchors. Tables counted per
  chunk cost more than the Gaussians do: one for each layer's keys and values 0.06 to 0.08 bits, 4 or 8
  for classes of channels up to 0.07; one per channel never pays with 115 differences of 64 values.
* An anchor's symbol is coded as its change from the anchor before, the chunk's first as it is: that
  stands in for the mean that a profiled table would know, and 8-bit anchors cost 0.7 bits per element
  instead of 0.8.
* The entropy coder is range ANS, not an arithmetic coder: the same rate.
* The released encoder has no anchors: it does step 2 to the tokens themselves, with bins of its own for
  values. Here the paper's text decides: the scale is that of a token's differences, and values have the
  bins of keys.

Sections per layer. `side` (U8): the bins (1 byte); per channel, keys' before values', the nibbles
(differences' low, anchors' high) and the first anchor (two's complement), all nibbles before all
anchors; then per token the upper half of its float32 step (little-endian), all keys' before all
values'. `anchors` and `deltas` (U8): `codec.rans` streams of the rest, rows of tokens, columns of channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np
import torch

from codec import rans
from codec.codable import rows_of, write
from codec.codec import LayerCodec, ReadSection
from codec.errors import CorruptFrame
from codec.gaussian_tables import gaussian_tables
from codec.rans_tables import Tables
from codec.spec import KVSpec
from codec.upper_half import rounded_up, step_sizes

LEVELS: Mapping[str, tuple[int, int, int]] = {"high": (64, 32, 32), "medium": (32, 16, 16), "low": (16, 16, 8)}
"""Bins of the differences in the first, middle and last third of the layers."""
GROUP_TOKENS = 10
_ANCHOR_BINS = 256
_LANES = 8  # streams are small: more lanes would cost more bytes
_BINS = frozenset(bins for level in LEVELS.values() for bins in level)
DELTA_DEVIATIONS = tuple(2.0 ** (half_octave / 2) for half_octave in range(-6, 10))
ANCHOR_DEVIATIONS = tuple(2.0 ** (half_octave / 2) for half_octave in range(-2, 14))


class CacheGen(LayerCodec):
    """Anchors, differences, layer-wise bins, entropy coding; `level` is one of `LEVELS`."""

    id: ClassVar[str] = "cachegen"
    lossless: ClassVar[bool] = False

    def __init__(self, level: str = "high", num_layers: int | None = None) -> None:
        """`num_layers` comes from `for_spec`; only encoding needs it, a frame says what its layers have."""
        self._level, self._num_layers = level, num_layers

    def params(self) -> dict[str, Any]:
        return {"level": self._level}

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Self:
        level = params.get("level", "high")
        if params.keys() - {"level"} or type(level) is not str or level not in LEVELS:
            raise CorruptFrame(f"cachegen takes a level, one of {', '.join(LEVELS)}; got {dict(params)}")
        return cls(level)

    def for_spec(self, spec: KVSpec) -> CacheGen:
        return CacheGen(self._level, spec.num_layers)

    def encode_layer(self, layer: int, keys: torch.Tensor, values: torch.Tensor, start: int) -> dict[str, np.ndarray]:
        bins = self._bins(layer)
        parts = [_quantized(rows_of(self.id, tensor), bins) for tensor in (keys, values)]
        anchors = np.hstack([part.anchors for part in parts])
        changes = np.diff(anchors, axis=0).view(np.uint8) ^ 0x80  # as symbols: int8 + 128
        deltas = (np.hstack([part.deltas for part in parts]) + np.int8(bins // 2 - 1)).view(np.uint8)
        delta_class, anchor_class = _cheapest(deltas, _delta_tables(bins)), _cheapest(changes, _anchor_tables())
        steps = np.concatenate([part.steps for part in parts])
        side = [
            np.array([bins], np.uint8),
            delta_class | anchor_class << 4,
            anchors[0].view(np.uint8),
            steps.view(np.uint8),
        ]
        return {
            "side": np.concatenate(side),
            "anchors": rans.encode(changes, anchor_class, _anchor_tables(), _LANES),
            "deltas": rans.encode(deltas, delta_class, _delta_tables(bins), _LANES),
        }

    def decode_layer(
        self, layer: int, read: ReadSection, keys: torch.Tensor, values: torch.Tensor, start: int, to: int
    ) -> None:
        heads, num_tokens, key_dim = keys.shape
        num_channels = heads * (key_dim + values.shape[2])
        side = read("side", np.uint8, (1 + 2 * num_channels + 4 * num_tokens,))
        bins, classes, first, steps = int(side[0]), *np.split(side[1:], [num_channels, 2 * num_channels])
        if bins not in _BINS:
            raise CorruptFrame(f"a layer states {bins} bins, which no level has")
        num_anchors = -(-num_tokens // GROUP_TOKENS)
        changes = rans.decode(read("anchors", np.uint8), num_anchors - 1, classes >> 4, _anchor_tables())
        anchors = np.vstack([first, changes ^ 0x80]).cumsum(axis=0, dtype=np.uint8).view(np.int8)
        if anchors.min() < -127:
            raise CorruptFrame("an anchor lies outside of its bins")
        symbols = rans.decode(read("deltas", np.uint8), num_tokens - num_anchors, classes & 15, _delta_tables(bins))
        deltas = symbols.view(np.int8) - np.int8(bins // 2 - 1)
        parts = (keys, slice(0, heads * key_dim)), (values, slice(heads * key_dim, None))
        for (out, columns), part_steps in zip(parts, steps.view("<u2").reshape(2, num_tokens), strict=True):
            x = _dequantized(_Quantized(anchors[:, columns], deltas[:, columns], part_steps))
            write(torch.from_numpy(x.reshape(num_tokens, heads, -1).transpose(1, 0, 2)), out)

    def _bins(self, layer: int) -> int:
        if self._num_layers is None:
            raise ValueError("cachegen gives early layers more bins: encode with codec.for_spec(spec)")
        return LEVELS[self._level][3 * layer // self._num_layers]


@dataclass(frozen=True)
class _Quantized:
    """`anchors` int8 `[group, channel]`, `deltas` int8 `[token, channel]`, `steps` uint16 `[token]` of all tokens."""

    anchors: np.ndarray
    deltas: np.ndarray
    steps: np.ndarray


def _quantized(x: np.ndarray, bins: int) -> _Quantized:
    is_anchor, group = _groups(len(x))
    steps = np.empty(len(x), "<u2")
    steps[is_anchor] = _steps(x[is_anchor], _ANCHOR_BINS)
    anchors = _rounded(x[is_anchor], steps[is_anchor])
    deltas = x[~is_anchor] - (anchors * step_sizes(steps[is_anchor])[:, None])[group[~is_anchor]]
    steps[~is_anchor] = _steps(deltas, bins)
    return _Quantized(anchors, _rounded(deltas, steps[~is_anchor]), steps)


@np.errstate(over="ignore", invalid="ignore")  # the steps of a forged frame may be anything finite
def _dequantized(part: _Quantized) -> np.ndarray:
    """Float32 `[token, channel]`."""
    is_anchor, group = _groups(len(part.steps))
    steps = step_sizes(part.steps)[:, None]
    anchors: np.ndarray = part.anchors * steps[is_anchor]
    x: np.ndarray = anchors[group]
    x[~is_anchor] += part.deltas * steps[~is_anchor]
    return x


def _groups(num_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Which tokens are anchors, and each token's group."""
    tokens = np.arange(num_tokens)
    return tokens % GROUP_TOKENS == 0, tokens // GROUP_TOKENS


def _steps(x: np.ndarray, bins: int) -> np.ndarray:
    """Upper halves, uint16 `[token]`, of the float32 steps, large enough for every number to find its bin."""
    largest = np.abs(x).max(axis=1)
    steps = rounded_up(largest / np.float32(bins // 2 - 1))
    steps[(steps == 0) & (largest > 0)] = 1
    return steps


def _rounded(x: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Int8 `[token, channel]`: how many steps each number is away from zero."""
    sizes = step_sizes(steps)[:, None]
    multiples: np.ndarray = np.rint(x / np.where(sizes > 0, sizes, 1)).astype(np.int8)
    return multiples


@cache
def _delta_tables(bins: int) -> Tables:
    return gaussian_tables(DELTA_DEVIATIONS, 1 - bins // 2, bins // 2 - 1)


@cache
def _anchor_tables() -> Tables:
    return gaussian_tables(ANCHOR_DEVIATIONS, -128, 127)


def _cheapest(symbols: np.ndarray, tables: Tables) -> np.ndarray:
    """For each column the table, uint8, under which its symbols take the fewest bits."""
    num_symbols = tables.frequencies.shape[1]
    place = np.arange(symbols.shape[1]) * num_symbols + symbols
    counts = np.bincount(place.ravel(), minlength=symbols.shape[1] * num_symbols).reshape(-1, num_symbols)
    gain = counts.astype(np.float64) @ np.log2(tables.frequencies).T  # [column, table]
    best: np.ndarray = gain.argmax(axis=1).astype(np.uint8)
    return best
