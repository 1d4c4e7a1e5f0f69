"""A query: of one request to a model, all that decides whether the answer to another may answer it."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import groupby
from typing import Any

DIGEST_BYTES = 32
_MOST_MARKS = 30  # as in Unicode's stream-safe text format (UAX 15, section 13)


@dataclass(frozen=True)
class Query:
    """Raises nothing and reads nothing: two are interchangeable when their `exact_key` is equal."""

    text: str
    """What is asked: the last message of the user, as it came."""
    context: bytes = b""
    """`context_digest` of everything else that the answer depends on; 32 bytes, or none for a bare question."""
    model: str = ""
    tenant: str = ""
    category: str | None = None
    """As the caller named it; None has it found out. No part of the identity."""

    @cached_property
    def partition(self) -> bytes:
        """32 bytes, equal for the queries whose answers may be compared at all: one tenant, model and context."""
        return _digest(self.tenant.encode(), self.model.encode(), self.context)

    @cached_property
    def exact_key(self) -> bytes:
        """32 bytes, equal where the same is asked in the same words."""
        return _digest(self.partition, normalized(self.text).encode("utf-8", "surrogatepass"))


def normalized(text: str) -> str:
    """What never changes a question: how accents are composed, ends of lines, and space around it.

    No more than that: compatibility forms (x² and x2), case (`Int` and `int`) and indentation do change questions.
    """
    composed = text if text.isascii() or _has_long_run(text) else unicodedata.normalize("NFC", text)
    return composed.replace("\r\n", "\n").replace("\r", "\n").strip()


def _has_long_run(text: str) -> bool:
    """Of marks on one letter, as no language has them: to order them takes time as the square of their number."""
    runs = groupby(map(unicodedata.combining, text), key=bool)
    return any(marks and sum(1 for _ in run) > _MOST_MARKS for marks, run in runs)


def context_digest(parts: Mapping[str, Any]) -> bytes:
    """32 bytes of what JSON values say, in any order of their keys. Raises ValueError on what JSON does not have."""
    said = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return _digest(said.encode("utf-8", "surrogatepass"))


def _digest(*parts: bytes) -> bytes:
    """Each part with its length, so that what ends one cannot begin the next."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()
