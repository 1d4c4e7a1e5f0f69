"""The place that a command works on, opened to be read or written: a directory, or a store on other machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from connectors.remote.opening import open_store
from connectors.remote.remote_tier import RemoteTier
from connectors.settings import load_settings
from kvstore import (
    BlockingWriter,
    ChunkKey,
    DiskReader,
    DiskTier,
    InvalidRequest,
    Metrics,
    Terms,
    TierUnavailable,
)
from kvstore.tier import NO_TERMS, Frame

_PATIENCE_S = 10.0  # of a person, for one answer of a server
_OF_SETTINGS = {"remote:": "remote.url", "replica:": "remote.replica"}


@dataclass(frozen=True)
class StoreUrl:
    """A store on other machines; printed, it shows nothing that is secret."""

    url: str = field(repr=False)
    shown: str

    def __str__(self) -> str:
        return self.shown


Place = Path | StoreUrl


def place_of(store: str | None) -> Place:
    """What was asked for, or the directory in the settings. Raises InvalidRequest on a URL of no store."""
    if store in _OF_SETTINGS:
        name = _OF_SETTINGS[store]
        if not (url := str(load_settings().values()[name])):
            raise InvalidRequest(f"{store} is what {name} of the settings names, and that is empty")
        return _at_url(url)
    if store is not None and "://" in store:
        return _at_url(store)
    return store_path(None if store is None else Path(store))


def _at_url(url: str) -> StoreUrl:
    return StoreUrl(url, open_store(url).url)


def store_path(store: Path | None) -> Path:
    """The directory asked for, or the one in the settings."""
    return store or load_settings().store.path


def open_reader(place: Place) -> DiskReader | RemoteTier:
    """A reader of what is there; a writer, if there is one, is not disturbed, and nothing is deleted."""
    if isinstance(place, StoreUrl):
        return _Remote(place, writes=False)
    try:
        return DiskReader(place)
    except TierUnavailable as error:
        if place.is_dir() and any(place.iterdir()):
            raise TierUnavailable(f"the store in {place} cannot be read: {error}") from error
        raise TierUnavailable(
            f"there is no store in {place}; name one with --store, or save to this one first"
        ) from error


def open_writer(place: Place) -> DiskTier | RemoteTier:
    """The writer of what is there, with room for everything held: looking after a store evicts nothing.

    Raises InvalidRequest when another process writes the directory. Of a remote store there may be many.
    """
    if isinstance(place, StoreUrl):
        return _Remote(place)
    with open_reader(place) as reader:
        size_bytes = reader.size_bytes
    return _writer(place, max(size_bytes, load_settings().disk.capacity_bytes, 1))


def create_writer(place: Place) -> DiskTier | RemoteTier:
    """As `open_writer`, of a new store where a directory is empty or not there, within the budget of the settings."""
    if isinstance(place, StoreUrl) or (place.is_dir() and any(place.iterdir())):
        return open_writer(place)
    return _writer(place, max(load_settings().disk.capacity_bytes, 1))


def _writer(path: Path, capacity_bytes: int) -> DiskTier:
    try:
        return DiskTier(path, capacity_bytes, quotas=load_settings().quotas, evicts=False)
    except BlockingWriter as error:
        raise InvalidRequest(
            f"another process is writing {path}, and only the writer may change it: stop it and run this again"
        ) from error


class _Remote(RemoteTier):
    """For a person, who waits: what is put is there when that returns, or it is said that it is not."""

    def __init__(self, place: StoreUrl, writes: bool = True) -> None:
        self._counts = Metrics()
        store = open_store(place.url, _PATIENCE_S)
        super().__init__(store, self._counts, deadline_s=_PATIENCE_S, writes=writes)

    def put(
        self, entries: Sequence[tuple[ChunkKey, Frame]], prefix: Sequence[ChunkKey] = (), terms: Terms = NO_TERMS
    ) -> int:
        """Raises TierUnavailable when the server does not take them."""
        stored = super().put(entries, prefix, terms)
        self.flush()
        if self._counts.snapshot()["remote_writes_dropped"]:
            raise TierUnavailable(f"{self._store.url} does not take what is put: is it full, or read-only?")
        return stored
