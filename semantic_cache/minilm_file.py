"""The built graph in a file, so that it is built once: `minilm-<digest of what it was built from>.onnx`.

Any tool for ONNX opens it. Its last field is metadata with the XXH3-128 of all bytes before it.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import xxhash

from kvstore.direct_io import sync_directory
from kvstore.errors import EmbedderUnavailable, MissingModel
from semantic_cache.minilm_graph import RECIPE, build
from semantic_cache.minilm_tokens import INSTALL
from semantic_cache.minilm_weights import ModelFiles

_METADATA, _KEY, _VALUE = b"\x72", b"\x0a\x04xxh3", b"\x12\x20"  # ModelProto.metadata_props, and its key and value
_DIGITS = 32
_SEAL_BYTES = 2 + len(_KEY) + len(_VALUE) + _DIGITS


def sealed(content: bytes) -> bytes:
    """A serialized ModelProto with its own checksum at its end; fields of protobuf may follow one another."""
    digits = xxhash.xxh3_128_hexdigest(content).encode()
    field = _KEY + _VALUE + digits
    return content + _METADATA + bytes([len(field)]) + field


def is_whole(content: bytes) -> bool:
    """Whether it is as `sealed` made it."""
    return content == sealed(content[:-_SEAL_BYTES])


def read_or_build(files: ModelFiles, directory: Path) -> bytes:
    """The graph of that model from the directory, which need not be there; built, and written, unless a whole one is.

    Several processes may do so at once: whoever comes last replaces the file by an equal one. Where nothing can be
    written the graph is still returned. Raises MissingModel when what builds it is not installed, EmbedderUnavailable
    when the model's files cannot be read.
    """
    try:
        path = directory / f"minilm-{files.digest()}-{RECIPE}.onnx"
        with suppress(OSError):
            content = path.read_bytes()
            if is_whole(content):
                return content
        content = sealed(build(files.load()))
    except ImportError as error:
        raise MissingModel(f"{error.name} is not installed: {INSTALL}") from error
    except OSError as error:
        raise EmbedderUnavailable(f"the embedding model cannot be read: {error}") from error
    with suppress(OSError):
        _write(path, content)
    return content


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="unfinished-") as unfinished:
        written = Path(unfinished) / path.name
        with written.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        written.replace(path)
    sync_directory(path.parent)
