"""What every benchmark writes: one shape of JSON, and the same as tables. Exits 0 whatever falls short."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

QUICK_S = 50


@dataclass(frozen=True)
class Check:
    """A number against its bar (must) and its aim (hope). `ok` says whether the bar is met."""

    name: str
    value: float
    bar: float
    aim: float | None
    ok: bool


def at_least(name: str, value: float, bar: float, aim: float | None = None) -> Check:
    return Check(f"{name} (at least)", value, bar, aim, value >= bar)


def at_most(name: str, value: float, bar: float, aim: float | None = None) -> Check:
    return Check(f"{name} (at most)", value, bar, aim, value <= bar)


def parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options every benchmark has."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    result.add_argument("--quick", action="store_true", help=f"a smaller run, done within {QUICK_S} s on two cores")
    result.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    return result


def publish(question: str, rows: Sequence[Mapping[str, Any]], checks: Sequence[Check], to: Path | None) -> None:
    """Prints the tables and writes the JSON."""
    report = {
        "question": question,
        "command": " ".join([f"python -m benchmarks.{question}", *sys.argv[1:]]),
        "commit": _commit(),
        "machine": _machine(),
        "rows": list(rows),
        "checks": [asdict(check) for check in checks],
    }
    console = Console(width=None if sys.stdout.isatty() else 160)
    for corpus, columns in dict.fromkeys(_table_of(row) for row in rows):
        title = f"{question}, {corpus}" if corpus else question
        _print_table(console, title, [row for row in rows if _table_of(row) == (corpus, columns)])
    if checks:
        _print_table(console, "checks", [asdict(check) for check in checks])
    if to is not None:
        to.write_text(json.dumps(report, indent=2) + "\n")


def _table_of(row: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Rows stand in one table that have the same corpus, if any, and the same columns."""
    return row.get("corpus", ""), tuple(row)


def _print_table(console: Console, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    console.print(table)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)


def interval_of_median(numbers: Sequence[float]) -> dict[str, float]:
    """Where their median lies with 95 %, bootstrapped."""
    chosen = random.Random(0)
    medians = sorted(statistics.median(chosen.choices(numbers, k=len(numbers))) for _ in range(2000))
    return {"ci95_low": medians[50], "ci95_high": medians[1949]}


def _commit() -> str:
    """The commit the code stands at, with `+` when the tree differs from it."""

    def git(*arguments: str) -> str:
        run = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, cwd=Path(__file__).parent, check=False
        )
        return run.stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if git("status", "--porcelain") else "")


def _machine() -> dict[str, Any]:
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
