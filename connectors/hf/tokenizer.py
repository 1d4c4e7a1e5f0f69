"""A tokenizer without its model."""

from __future__ import annotations

from typing import Any

from transformers import AutoTokenizer

from kvstore import InvalidRequest


def load_tokenizer(source: str) -> Any:
    """The tokenizer of a hub id or directory. Raises InvalidRequest when there is none within reach."""
    try:
        return AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"no tokenizer can be loaded from {source!r}: {error}") from error
