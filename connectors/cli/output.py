"""What the commands print: tables for people, JSON for programs, progress on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import typer
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

T = TypeVar("T")
_ANY_WIDTH = 1000
_AGES = ((86400 * 365, "y"), (86400, "d"), (3600, "h"), (60, "min"))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; columns whose name ends in `>` are numbers and stand on the right."""
    plain_console().print(table_of(columns, rows))


def table_of(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """What `print_table` prints."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name.rstrip(">"), justify="right" if name.endswith(">") else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Names and values, one pair a line."""
    table = Table.grid(padding=(0, 2))
    for name, value in fields:
        table.add_row(name, value)
    plain_console().print(table)


def print_line(text: str) -> None:
    """A sentence."""
    plain_console().print(text, soft_wrap=True)


def print_json(value: Any) -> None:
    """JSON, indented."""
    typer.echo(json.dumps(value, indent=2))


def progress(hidden: bool) -> Progress:
    """A progress bar on stderr that leaves nothing behind; only a terminal shows it."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=hidden or not console.is_terminal)


def tracked(description: str, hidden: bool) -> Callable[[Sequence[T]], Iterator[T]]:
    """Gives out what it is given, one by one, behind such a bar."""

    def giving_out(all_of_them: Sequence[T]) -> Iterator[T]:
        with progress(hidden) as bar:
            yield from bar.track(all_of_them, description=description)

    return giving_out


def format_age(age_s: float) -> str:
    """The largest unit that fits: "12 s", "3 min", "5 h", "2 d", "1 y"."""
    for unit_s, unit in _AGES:
        if age_s >= unit_s:
            return f"{age_s // unit_s:.0f} {unit}"
    return f"{max(age_s, 0):.0f} s"


def plain_console() -> Console:
    """Plain text, never markup; as wide as the table where there is no terminal to fit into."""
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _ANY_WIDTH
    return console
