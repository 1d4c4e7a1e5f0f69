"""ProfileFiles: the profiles that a store directory's frames need, one file each, named by its content.

    profiles/<fingerprint>.safetensors      the fingerprint is the SHA-256 of the file, 64 hex digits

Nothing else becomes a file name, and a file under any other name is never read.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

from kvstore.direct_io import sync_directory
from kvstore.errors import InvalidRequest, MissingProfile, TierUnavailable

_SUFFIX = ".safetensors"
_FINGERPRINT = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MAX_BYTES = 4 << 30  # four times what a model of 80 layers with 2,048 KV channels needs


class ProfileFiles:
    """Profiles in one directory, which need not be there yet. Its writer holds the store's lock."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def fingerprints(self) -> list[str]:
        """Those named by a file here, whole or not, the newest first."""
        newest_first = sorted(self._files(), key=lambda file: file[1].st_mtime_ns, reverse=True)
        return [path.stem for path, _ in newest_first]

    def size_bytes(self) -> int:
        """Bytes of all of them."""
        return sum(status.st_size for _, status in self._files())

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        try:
            there = list(self._directory.iterdir()) if self._directory.exists() else []
            return [(path, path.stat()) for path in there if _is_profile(path)]
        except OSError as error:
            raise TierUnavailable(f"{self._directory} cannot be read: {error}") from error

    def read(self, fingerprint: str) -> bytes | None:
        """The content of that fingerprint; None when no file has its name. Raises MissingProfile on another one."""
        path = self._path(fingerprint)
        if not _FINGERPRINT.fullmatch(fingerprint) or not _is_profile(path):
            return None
        try:
            too_large = path.stat().st_size > _MAX_BYTES
            content = b"" if too_large else path.read_bytes()
        except OSError as error:
            raise MissingProfile(f"the profile {path} cannot be read: {error}") from error
        if hashlib.sha256(content).hexdigest() != fingerprint:
            raise MissingProfile(f"the profile {path} is damaged: it does not hold what it is named by")
        return content

    def keep(self, fingerprint: str, content: bytes) -> None:
        """Writes the file unless it is there and whole; durable, and whole or not at all.

        Raises InvalidRequest when the content has another fingerprint, TierUnavailable when it cannot be written.
        """
        if hashlib.sha256(content).hexdigest() != fingerprint:
            raise InvalidRequest(f"profile {fingerprint!r} is not named by its content")
        with suppress(MissingProfile):  # damaged: written again
            if self.read(fingerprint) is not None:
                return
        path = self._path(fingerprint)
        unfinished = path.with_suffix(".unfinished")
        try:
            self._directory.mkdir(exist_ok=True)
            sync_directory(self._directory.parent)
            with unfinished.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
            sync_directory(self._directory)
        except OSError as error:
            with suppress(OSError):
                unfinished.unlink()
            raise TierUnavailable(f"the profile {path} cannot be written: {error}") from error

    def delete(self, fingerprint: str) -> None:
        """Removes the file of that name, if there is one. Raises TierUnavailable when it cannot be removed."""
        if not _FINGERPRINT.fullmatch(fingerprint):
            return
        try:
            self._path(fingerprint).unlink(missing_ok=True)
        except OSError as error:
            raise TierUnavailable(f"the profile {self._path(fingerprint)} cannot be removed: {error}") from error

    def _path(self, fingerprint: str) -> Path:
        return self._directory / f"{fingerprint}{_SUFFIX}"


def _is_profile(path: Path) -> bool:
    return path.suffix == _SUFFIX and _FINGERPRINT.fullmatch(path.stem) is not None and path.is_file()
