"""Bytes at equal faithfulness: what a family of codecs costs at some KL, and the curves as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

Curve = Sequence[tuple[float, float]]
"""(KL in nats, bits per element) of a family's levels, in any order."""
_LEAST_KL = 1e-9  # so that an exact codec has a logarithm


def bits_at(kl: float, curve: Curve) -> float | None:
    """The fewest bits for which the family promises a KL of at most `kl`; None where no level is that good.

    Between two levels the bits are linear in the logarithm of the KL. A family whose coarsest level is
    better than asked for still costs what that level costs.
    """
    points = sorted((max(level_kl, _LEAST_KL), bits) for level_kl, bits in curve)
    if kl < points[0][0]:
        return None
    for (low_kl, high_bits), (high_kl, low_bits) in pairwise(points):
        if low_kl <= kl < high_kl:
            share = math.log(kl / low_kl) / math.log(high_kl / low_kl)
            return high_bits + share * (low_bits - high_bits)
    return points[-1][1]


def times_fewer_bytes(kl: float, curve: Curve, than: Curve) -> float:
    """How many times the bytes of `curve` the other family takes for a KL of at most `kl`.

    A family of which no level is that good counts as its finest one: that is the least it would take. NaN
    when `curve` itself is never that good.
    """
    own, other = bits_at(kl, curve), bits_at(kl, than)
    if own is None:
        return math.nan
    return (max(bits for _, bits in than) if other is None else other) / own


def draw(panels: Mapping[str, Mapping[str, Curve]], title: str, to: Path) -> None:
    """A PNG, one panel for each corpus: bits per element against KL of every family, both growing towards worse."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8 * len(panels), 5), layout="constrained")
    figure.suptitle(title)
    for number, (corpus, curves) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), number)
        for family, curve in curves.items():
            kls, bits = zip(*sorted((max(kl, 1e-6), bits) for kl, bits in curve), strict=True)
            axes.plot(kls, bits, marker="o", label=family)
        axes.set(xscale="log", xlabel="KL to full precision (nats per token)")
        axes.set_ylabel("bits per element, all of the frame")
        axes.set_ylim(bottom=0)
        axes.set_title(corpus)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(to, dpi=120)
