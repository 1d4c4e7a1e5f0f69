"""Archive: chunks and their profiles in one file, to take from one store to another. The only file that packs it.

A plain zip whose members are stored, not compressed (frames are), so that any unzip opens it:

    frames/<key>.safetensors              one frame, named by its key, 64 hex digits
    profiles/<fingerprint>.safetensors    one profile, named by the SHA-256 of its bytes
    manifest.json                         {"kvstore_archive": 1, "chunks": [...], "damaged": {...}}
        damaged         by key, why a chunk that was to be there is not: for people, no reader needs it
    Each of its chunks is an object of
        key, parent     64 hex digits; the parent is the chunk before it, null for a first chunk
        tenant          text
        saved_at_s      Unix seconds
        expires_at_s    Unix seconds, null for never
        hits            how often it was loaded where it comes from

Every frame and profile has its place in the manifest or in a frame, and every chunk of the manifest has its
frame. What is written to a stream that cannot seek has its lengths behind its members (a zip's data descriptors).
A reader takes nothing for granted: members under other names, compressed or twice there are not read,
none is larger than the file, and no name ever becomes a path. What it cannot see is whether a frame holds
the KV of the tokens that its key stands for: take archives from whom you would take the model from.
"""

from __future__ import annotations

import io
import json
import math
import re
import struct
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol, Self

from kvstore.errors import InvalidRequest, KVCacheError
from kvstore.key import ChunkKey
from kvstore.tier import Entry, Frame, Terms

_VERSION = 1
_MANIFEST = "manifest.json"
_NAMES = {kind: re.compile(rf"{kind}/([0-9a-f]{{64}})\.safetensors", re.ASCII) for kind in ("frames", "profiles")}
_MAX_MEMBER_BYTES = 4 << 30  # what a store takes for a profile; frames are far smaller
_MAX_MANIFEST_BYTES = 1 << 30  # some millions of chunks
_MAX_TENANT_BYTES = 1024
_MAX_HITS = 1 << 62
_FIELDS = {"key", "parent", "tenant", "saved_at_s", "expires_at_s", "hits"}
_MALFORMED = (
    zipfile.BadZipFile,
    ValueError,
    ArithmeticError,
    LookupError,
    RuntimeError,  # encrypted; NotImplementedError: a compression or version that zipfile does not know
    EOFError,
    struct.error,
    OSError,
)


class CorruptArchive(KVCacheError):
    """Not an archive, or damaged: export it again."""


class Written(Protocol):
    """What an archive is written to: an open binary file, or what can do as much."""

    def write(self, data: bytes, /) -> int: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class ArchiveWriter:
    """Writes an archive to an open binary file, which need not seek; on leaving `with` without an error it is whole.

    Raises what the file raises.
    """

    def __init__(self, file: Written) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)
        self._chunks: list[Entry] = []
        self._damaged: dict[str, str] = {}

    def add_chunk(self, chunk: Entry, frame: Frame) -> None:
        self._chunks.append(chunk)
        self._zip.writestr(zipfile.ZipInfo(f"frames/{chunk.key}.safetensors"), frame)

    def add_profile(self, fingerprint: str, content: bytes) -> None:
        self._zip.writestr(zipfile.ZipInfo(f"profiles/{fingerprint}.safetensors"), content)

    def leave_out(self, chunk: Entry, problem: str) -> None:
        """Notes that a chunk is not there because it is damaged."""
        self._damaged[str(chunk.key)] = problem

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._zip:
            if error is None:
                chunks = [_as_json(chunk) for chunk in self._chunks]
                manifest = {"kvstore_archive": _VERSION, "chunks": chunks, "damaged": self._damaged}
                self._zip.writestr(zipfile.ZipInfo(_MANIFEST), json.dumps(manifest, indent=1).encode())


@contextmanager
def write_archive(path: Path) -> Iterator[ArchiveWriter]:
    """Writes under a temporary name; on leaving `with` without an error the archive takes its own.

    Raises InvalidRequest when the file cannot be written.
    """
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with unfinished.open("wb") as file, ArchiveWriter(file) as archive:
            yield archive
        unfinished.replace(path)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)


class ArchiveReader:
    """Reads an archive that may hold anything. Frames are not verified here: whoever takes one does."""

    def __init__(self, file: Path | BinaryIO, most_bytes: int = _MAX_MEMBER_BYTES) -> None:
        """`file` is its path, or the file itself, open; no frame or profile of more than `most_bytes` is read.

        Raises CorruptArchive when it is no archive, or its manifest cannot be read.

        `problems` are the parts that were left out, and why: members that do not belong there, and chunks
        that the manifest describes wrongly or without a frame.
        """
        self.problems: list[tuple[str, str]] = []
        self._most_bytes = most_bytes
        try:
            self._size_bytes = file.stat().st_size if isinstance(file, Path) else file.seek(0, io.SEEK_END)
            self._zip = zipfile.ZipFile(file)
        except FileNotFoundError as error:
            raise InvalidRequest(f"there is no file {file}") from error
        except _MALFORMED as error:
            named = file if isinstance(file, Path) else "it"
            raise CorruptArchive(f"{named} is not a zip file: {error}") from error
        try:
            self._members = self._sound_members()
            self.chunks = self._read_manifest()
        except BaseException:
            self._zip.close()
            raise
        self._report_strays()

    def frame(self, key: ChunkKey) -> bytes:
        """The bytes under a chunk's name. Raises CorruptArchive when they cannot be read."""
        return self._read(f"frames/{key}.safetensors", self._most_bytes)

    def profile(self, fingerprint: str) -> bytes:
        """The bytes under a profile's name, one of `profiles`. Raises CorruptArchive when they cannot be read."""
        return self._read(f"profiles/{fingerprint}.safetensors", self._most_bytes)

    @property
    def profiles(self) -> list[str]:
        found = (_NAMES["profiles"].fullmatch(name) for name in self._members)
        return [match[1] for match in found if match]

    def _sound_members(self) -> dict[str, zipfile.ZipInfo]:
        infos = self._zip.infolist()
        times = Counter(info.filename for info in infos)
        sound = {}
        for info in infos:
            problem = self._member_problem(info, times[info.filename])
            if problem is None:
                sound[info.filename] = info
            else:
                self.problems.append((info.filename, problem))
        return sound

    def _member_problem(self, info: zipfile.ZipInfo, times: int) -> str | None:
        if info.filename != _MANIFEST and not any(name.fullmatch(info.filename) for name in _NAMES.values()):
            return "nothing of this name belongs into an archive"
        if times > 1:
            return f"is there {times} times"
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            return "is compressed or encrypted"
        if info.compress_size != info.file_size or info.file_size > self._size_bytes:
            return f"claims to be {info.file_size} bytes long"
        return None

    def _read(self, name: str, max_bytes: int) -> bytes:
        info = self._members.get(name)
        if info is None:
            raise CorruptArchive(f"{name} is missing")
        if info.file_size > max_bytes:
            raise CorruptArchive(f"{name} is {info.file_size} bytes long, {max_bytes} at most are allowed")
        try:
            return self._zip.read(info)
        except _MALFORMED as error:
            raise CorruptArchive(f"{name} cannot be read: {error}") from error

    def _read_manifest(self) -> list[Entry]:
        try:
            manifest = json.loads(self._read(_MANIFEST, _MAX_MANIFEST_BYTES), parse_constant=_refuse)
            version, records = manifest["kvstore_archive"], manifest["chunks"]
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise CorruptArchive(f"the manifest is malformed: {error}") from error
        if version != _VERSION or not isinstance(records, list):
            raise CorruptArchive(f"the archive is of version {str(version)[:20]}; this release reads {_VERSION}")
        chunks: dict[ChunkKey, Entry] = {}
        for number, record in enumerate(records):
            try:
                key, terms = _key_and_terms(record)
                frame = self._members.get(f"frames/{key}.safetensors")
                if frame is None or key in chunks:
                    raise ValueError(f"{key} has no frame, or was described before")
                chunks[key] = _entry(key, terms, frame.file_size, record)
            except (ValueError, TypeError, LookupError) as error:
                self.problems.append((f"chunk {number} of the manifest", str(error)[:200]))
        return list(chunks.values())

    def _report_strays(self) -> None:
        described = {str(chunk.key) for chunk in self.chunks}
        for name in self._members:
            match = _NAMES["frames"].fullmatch(name)
            if match and match[1] not in described:
                self.problems.append((name, "the manifest does not describe it"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._zip.close()


def _as_json(chunk: Entry) -> dict[str, Any]:
    expires_at_s = chunk.terms.expires_at_s
    return {
        "key": str(chunk.key),
        "parent": str(chunk.parent) if chunk.parent else None,
        "tenant": chunk.terms.tenant,
        "saved_at_s": chunk.saved_at_s,
        "expires_at_s": None if expires_at_s == math.inf else expires_at_s,
        "hits": chunk.hits,
    }


def _key_and_terms(record: Any) -> tuple[ChunkKey, Terms]:
    """Raises ValueError, TypeError or LookupError on what `_as_json` never gives; so does `_entry`."""
    if type(record) is not dict or record.keys() != _FIELDS:
        raise ValueError(f"it has other fields than {', '.join(sorted(_FIELDS))}")
    tenant, expires_at_s = record["tenant"], record["expires_at_s"]
    if type(tenant) is not str or len(tenant.encode()) > _MAX_TENANT_BYTES:  # a lone surrogate is a ValueError
        raise ValueError(f"the tenant is no text of at most {_MAX_TENANT_BYTES} bytes")
    return _key(record["key"]), Terms(tenant, math.inf if expires_at_s is None else _time_s(expires_at_s))


def _entry(key: ChunkKey, terms: Terms, size_bytes: int, record: Any) -> Entry:
    hits, saved_at_s = record["hits"], _time_s(record["saved_at_s"])
    if type(hits) is not int or not 0 <= hits < _MAX_HITS:
        raise ValueError("the hits are no count")
    parent = None if record["parent"] is None else _key(record["parent"])
    return Entry(key, size_bytes, saved_at_s, saved_at_s, hits, terms, parent)


def _key(text: Any) -> ChunkKey:
    if type(text) is not str or not re.fullmatch("[0-9a-f]{64}", text, re.ASCII):
        raise ValueError("a key is not 64 hex digits")
    return ChunkKey.from_hex(text)


def _time_s(number: Any) -> float:
    if type(number) not in (int, float) or not 0 <= number < 1 << 40:
        raise ValueError("a time is no number of Unix seconds")
    return float(number)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")
