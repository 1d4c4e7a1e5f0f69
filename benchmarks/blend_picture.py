"""The picture of `blend`: how far answers are off against how much sooner they begin, each way of choosing a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def draw(rows: Sequence[Mapping[str, Any]], to: Path) -> None:
    """A PNG: a column per corpus; rows have `corpus`, `selector`, `share`, `kl`, `sooner`."""
    from matplotlib.figure import Figure

    corpora = list(dict.fromkeys(row["corpus"] for row in rows))
    figure = Figure(figsize=(5.5 * len(corpora), 4.5), layout="constrained")
    for axis, corpus in zip(figure.subplots(1, len(corpora), squeeze=False)[0], corpora, strict=True):
        own = [row for row in rows if row["corpus"] == corpus]
        for selector in dict.fromkeys(row["selector"] for row in own):
            points = [(row["sooner"], row["kl"]) for row in own if row["selector"] == selector]
            axis.plot(*zip(*points, strict=True), marker="." if len(points) > 1 else "x", label=selector)
        axis.set(
            title=corpus, xlabel="first token sooner than in full (times)", ylabel="mean KL (nats)", ylim=(0, None)
        )
        axis.grid(alpha=0.3)
        axis.legend(fontsize="x-small")
    figure.savefig(to, dpi=100)
