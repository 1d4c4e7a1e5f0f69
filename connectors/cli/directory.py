"""The directory that a command works on, opened to be read or written."""

from __future__ import annotations

from pathlib import Path

from connectors.settings import load_settings
from kvstore import BlockingWriter, DiskReader, DiskTier, InvalidRequest, TierUnavailable


def store_path(store: Path | None) -> Path:
    """The directory asked for, or the one in the settings."""
    return store or load_settings().store.path


def open_reader(path: Path) -> DiskReader:
    """A reader of the store in `path`; the writer, if there is one, is not disturbed."""
    try:
        return DiskReader(path)
    except TierUnavailable as error:
        if path.is_dir() and any(path.iterdir()):
            raise TierUnavailable(f"the store in {path} cannot be read: {error}") from error
        raise TierUnavailable(
            f"there is no store in {path}; name one with --store, or save to this one first"
        ) from error


def open_writer(path: Path) -> DiskTier:
    """The writer of the store in `path`, with room for everything held: looking after a store evicts nothing.

    Raises InvalidRequest when another process writes it.
    """
    with open_reader(path) as reader:
        size_bytes = reader.size_bytes
    return _writer(path, max(size_bytes, load_settings().disk.capacity_bytes, 1))


def create_writer(path: Path) -> DiskTier:
    """As `open_writer`, of a new store where `path` is empty or not there, within the budget of the settings."""
    if path.is_dir() and any(path.iterdir()):
        return open_writer(path)
    return _writer(path, max(load_settings().disk.capacity_bytes, 1))


def _writer(path: Path, capacity_bytes: int) -> DiskTier:
    try:
        return DiskTier(path, capacity_bytes, quotas=load_settings().quotas, evicts=False)
    except BlockingWriter as error:
        raise InvalidRequest(
            f"another process is writing {path}, and only the writer may change it: stop it and run this again"
        ) from error
