"""The picture of `streaming`: who is in time, and how good what came is, against the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def draw(panels: Mapping[str, Sequence[Mapping[str, Any]]], to: Path) -> None:
    """A PNG: a column per trace, shares in time above KLs; points have `policy`, `target_s`, `met`, `kl`."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(panels), 8), layout="constrained")
    axes = figure.subplots(2, len(panels), squeeze=False, sharex=True)
    colors = colormaps["tab20"]
    for column, (title, points) in enumerate(panels.items()):
        for number, policy in enumerate(dict.fromkeys(point["policy"] for point in points)):
            own = [point for point in points if point["policy"] == policy]
            targets = [point["target_s"] for point in own]
            for row, name in enumerate(("met", "kl")):
                style = "-" if policy.startswith(("adaptive", "cachegen adaptive")) else ":"
                axes[row, column].plot(
                    targets, [point[name] for point in own], style, color=colors(number), marker=".", label=policy
                )
        axes[0, column].set_title(title, fontsize="small")
        axes[1, column].set(xlabel="target (s)")
        axes[1, column].set_yscale("symlog", linthresh=1e-3)
        axes[0, column].grid(alpha=0.3)
        axes[1, column].grid(alpha=0.3)
    axes[0, 0].set_ylabel("share in time")
    axes[1, 0].set_ylabel("mean KL of what came (nats)")
    axes[0, 0].legend(fontsize="x-small")
    figure.savefig(to, dpi=100)
