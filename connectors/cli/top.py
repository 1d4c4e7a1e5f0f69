"""`kvstore top`: a store as it lives, looked at again and again."""

from __future__ import annotations

import json
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from connectors.byte_size import format_bytes
from connectors.cli.activity import Look, Watcher
from connectors.cli.options import StoreOption
from connectors.cli.output import plain_console, table_of
from connectors.cli.place import store_path
from connectors.counted import counted
from connectors.settings import load_settings

_MOST_OF_THE_TIME = 0.1  # what looking may take of it, however large the store


def top(
    interval: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="From one look to the next.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Watch for one interval, print what there was and end.")] = False,
    prompts: Annotated[int, typer.Option(metavar="N", min=0, help="How many of the hottest prompts.")] = 8,
    store: StoreOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON for each interval.")] = False,
) -> None:
    """Watch a store: what it holds, what was saved and loaded in the last interval, the hottest prompts.

    Leave with q or Ctrl-C. Loads show when the writer writes them down: with its next save. A look reads
    the whole index, some three seconds for 100,000 chunks; on large stores the interval grows so that looking
    takes a tenth of the time at most.

    Example: kvstore top --interval 5
    """
    path = store_path(store)
    budget_bytes = load_settings().disk.capacity_bytes if store is None else None
    watcher, console = Watcher(path, prompts), plain_console()
    live = Live(console=console, auto_refresh=False) if console.is_terminal and not as_json else None
    with suppress(KeyboardInterrupt), _keyboard() as pressed_q_within, live or nullcontext():
        look, took_s = _timed_look(watcher)
        if live:
            live.update(_frame(look, str(path), budget_bytes), refresh=True)
        while not pressed_q_within(max(interval, took_s / _MOST_OF_THE_TIME)):
            look, took_s = _timed_look(watcher)
            if as_json:
                typer.echo(json.dumps(_as_json(look, budget_bytes)))
            elif live:
                live.update(_frame(look, str(path), budget_bytes), refresh=True)
            else:
                console.print(_frame(look, str(path), budget_bytes))
            if once:
                return


def _timed_look(watcher: Watcher) -> tuple[Look, float]:
    """A look and the seconds that it took."""
    begun_s = time.monotonic()
    return watcher.look(), time.monotonic() - begun_s


@contextmanager
def _keyboard() -> Iterator[Callable[[float], bool]]:
    """`pressed_q_within(seconds)` waits that long, or until q is pressed, which only a terminal can."""
    if not sys.stdin.isatty():
        yield _slept
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield _pressed_q_within
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _slept(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _pressed_q_within(seconds: float) -> bool:
    until_s = time.monotonic() + seconds
    while (left_s := until_s - time.monotonic()) > 0:
        if select.select([sys.stdin], [], [], left_s)[0] and os.read(sys.stdin.fileno(), 1) in (b"q", b"Q", b""):
            return True
    return False


def _frame(look: Look, path: str, budget_bytes: int | None) -> Group:
    of_budget = f" of {format_bytes(budget_bytes)}, {look.size_bytes / budget_bytes:.0%}" if budget_bytes else ""
    activity = [
        (of.model, of.tenant, str(of.saved), format_bytes(of.saved_bytes), str(of.loaded)) for of in look.activity
    ]
    hottest = [
        (str(hot.key)[:12], hot.model, hot.tenant, str(hot.hits), str(hot.chunks), format_bytes(hot.size_bytes))
        for hot in look.hottest
    ]
    held = f"{counted(look.chunks, 'chunk')}, {format_bytes(look.size_bytes)}{of_budget}"
    parts: list[Text | Table] = [Text(f"{datetime.now():%H:%M:%S}  {path}: {held}; {look.evicted} gone since before")]
    if activity:
        parts.append(table_of(["model", "tenant", "saved>", "bytes>", "loaded>"], activity))
    if hottest:
        parts.append(table_of(["hottest prompt", "model", "tenant", "hits>", "chunks>", "size>"], hottest))
    return Group(*parts)


def _as_json(look: Look, budget_bytes: int | None) -> dict[str, Any]:
    return {
        "at_s": time.time(),
        "chunks": look.chunks,
        "size_bytes": look.size_bytes,
        "budget_bytes": budget_bytes,
        "evicted": look.evicted,
        "activity": [asdict(activity) for activity in look.activity],
        "hottest": [{**asdict(hot), "key": str(hot.key)} for hot in look.hottest],
    }
