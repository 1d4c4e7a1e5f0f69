"""`kvstore tiers`: how each place does that frames are kept in, fastest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from connectors.byte_size import format_bytes
from connectors.cli.options import JsonOption
from connectors.cli.output import print_json, print_line, print_table
from connectors.cli.place import open_reader, place_of
from connectors.settings import Settings
from kvstore import DiskReader, TierState, TierUnavailable

_MILLISECONDS = 1000


def tiers(
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Of the service. Without it: sidecar.url, else the service on this host."),
    ] = None,
    token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="The admin's. Without it: sidecar.token, else these settings'.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show each tier of the settings in effect, and a remote one's replica. The exit code is 1 when one is down.

    A running `kvstore serve` is asked, which knows what was asked of its tiers. Where none runs, directories and
    servers are looked at from here: what an engine holds in memory, and how often it hits, it alone knows.

    `breaker` is open while a tier that failed is not asked. Bytes and chunks of a server are all that it holds,
    whoever put it there; its budget is its maxmemory. `hit rate` is of the chunks that no faster tier held; p50 and
    p99 are how long the last frames took to come.

    Example: kvstore tiers --json
    """
    from connectors.cli.running_service import settings_with  # HTTP takes a while to import

    settings = settings_with(url, token)
    source, states = _found(settings)
    if as_json:
        print_json({"from": source, "tiers": [_as_json(state) for state in states]})
    else:
        columns = ["tier", "health", "breaker", "bytes>", "budget>", "chunks>", "hit rate>", "p50>", "p99>", "place"]
        print_table(columns, [_row(state) for state in states])
        for state in states:
            if state.problem is not None:
                print_line(f"{state.name} is down, and prompts are served without it: {state.problem}")
        print_line(
            f"As {source} says." if source else "No service runs here: directories and servers as seen from here."
        )
    if any(state.problem is not None for state in states):
        raise typer.Exit(1)


def _found(settings: Settings) -> tuple[str | None, list[TierState]]:
    """Which service says so, if one does, and what."""
    from connectors.cli.running_service import tiers_of_service

    sidecar = settings.sidecar
    source = sidecar.url or f"unix:{sidecar.socket}"
    try:
        bodies = tiers_of_service(sidecar)
    except TierUnavailable as error:
        if not sidecar.url:
            return None, [*_in_processes(settings), *_on_disk(settings), *_remote(settings)]
        return source, [*_in_processes(settings), TierState("sidecar", source, problem=str(error))]
    states = [TierState(**body.model_dump(exclude={"available"})) for body in bodies]
    if not sidecar.url:
        return source, states
    within = [replace(state, name=f"sidecar: {state.name}") for state in states]
    return source, [*_in_processes(settings), TierState("sidecar", source), *within]


def _in_processes(settings: Settings) -> Iterator[TierState]:
    """Of each engine that has these settings."""
    capacities = {"device": settings.device.capacity_bytes, "memory": settings.memory.capacity_bytes}
    for name, capacity_bytes in capacities.items():
        if capacity_bytes:
            yield TierState(name, capacity_bytes=capacity_bytes)


def _on_disk(settings: Settings) -> Iterator[TierState]:
    directories = {
        "shared": (settings.shared.path, settings.shared.capacity_bytes),
        "disk": (settings.store.path, settings.disk.capacity_bytes),
    }
    for name, (path, capacity_bytes) in directories.items():
        if capacity_bytes:
            yield replace(_of_directory(path), name=name, durable=name == "disk", capacity_bytes=capacity_bytes)


def _of_directory(path: Path) -> TierState:
    """One that is not there yet holds nothing."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return TierState("disk", str(path), size_bytes=0, chunks=0)
    try:
        with DiskReader(path) as reader:
            [state] = reader.states()
            return state
    except TierUnavailable as error:
        return TierState("disk", str(path), problem=str(error))


def _remote(settings: Settings) -> Iterator[TierState]:
    for name, url in {"remote": settings.remote.url, "replica": settings.remote.replica}.items():
        if url and settings.remote.url:
            with open_reader(place_of(url)) as reader:
                yield replace(reader.states()[0], name=name)


def _row(state: TierState) -> tuple[str, ...]:
    return (
        state.name,
        "up" if state.problem is None else "DOWN",
        _breaker(state),
        _bytes(state.size_bytes),
        _bytes(state.capacity_bytes),
        "" if state.chunks is None else str(state.chunks),
        "" if (rate := _hit_rate(state)) is None else f"{rate:.1%}",
        _time(state.median_s),
        _time(state.p99_s),
        state.place or "in the process",
    )


def _breaker(state: TierState) -> str:
    if state.reads_held_off:
        return "open"
    return "open for writes" if state.writes_held_off else "closed"


def _hit_rate(state: TierState) -> float | None:
    """None where nothing was asked for."""
    return (state.chunks_held or 0) / state.chunks_asked if state.chunks_asked else None


def _bytes(num_bytes: int | None) -> str:
    return "" if num_bytes is None else format_bytes(num_bytes)


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f"{_MILLISECONDS * seconds:.2f} ms"


def _as_json(state: TierState) -> dict[str, Any]:
    return {**asdict(state), "available": state.problem is None, "hit_rate": _hit_rate(state)}
