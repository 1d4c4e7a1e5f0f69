"""A prompt in a file: a JSON list of token ids, or text."""

from __future__ import annotations

import json
from pathlib import Path

from connectors.inspection.prompt_difference import Prompt
from kvstore import InvalidRequest


def read_prompt(file: Path, model: str) -> Prompt:
    """The prompt in a file; `model` names whose tokenizer reads text. Raises InvalidRequest when none does."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{file} cannot be read as text: {error}") from error
    tokenizer = None
    if model:
        from connectors.hf.tokenizer import load_tokenizer  # transformers takes seconds to import

        tokenizer = load_tokenizer(model)
    token_ids = _token_ids(text)
    if token_ids is not None:
        return Prompt(token_ids, tokenizer)
    if tokenizer is None:
        raise InvalidRequest(f"{file} is text, not a JSON list of token ids: name its tokenizer with --model")
    return Prompt(list(tokenizer(text)["input_ids"]), tokenizer)


def _token_ids(text: str) -> list[int] | None:
    """The list of token ids that the text is as JSON; None when it is something else, a prompt's own words."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_list = isinstance(found, list) and all(type(token) is int and 0 <= token < 1 << 32 for token in found)
    return found if is_list else None
