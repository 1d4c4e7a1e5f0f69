"""Texts to calibrate and measure on: MuSiQue passages with questions, long chats, or any plain text."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Passages:
    """A text long enough to be worth keeping, and what is asked about it."""

    text: str
    question: str


def read_corpus(path: Path) -> list[Passages]:
    """The texts in a file: `.json` as MuSiQue, `.jsonl` as LongChat, anything else as one plain text."""
    if path.suffix == ".json":
        return musique(path)
    if path.suffix == ".jsonl":
        return longchat(path)
    return [Passages(path.read_text(), "What is this text about?")]


def musique(path: Path) -> list[Passages]:
    """Each question of a MuSiQue file with its passages joined into one text."""
    return [Passages("\n\n".join(passages_of(entry)), entry["question"]) for entry in json.loads(path.read_text())]


def longchat(path: Path) -> list[Passages]:
    """Each conversation of a LongChat file; its own last request is the question."""
    prompts = [json.loads(line)["prompt"] for line in path.read_text().splitlines() if line.strip()]
    return [Passages(*prompt.rsplit("\n", 1)) if "\n" in prompt else Passages(prompt, "") for prompt in prompts]


def windows(tokenizer: Any, texts: Sequence[str], num_tokens: int) -> Iterator[torch.Tensor]:
    """Token ids `[1, num_tokens]`: the first window of every text that has one, then every second, and so on."""
    tokens_of = cache(lambda text: tokenizer(text).input_ids)
    for start in count(0, num_tokens):
        found = False
        for text in texts:
            ids = tokens_of(text)[start : start + num_tokens]
            if len(ids) == num_tokens:
                found = True
                yield torch.tensor([ids])
        if not found:
            return


def windows_in_turn(tokenizer: Any, kinds: Sequence[Sequence[str]], num_tokens: int) -> Iterator[torch.Tensor]:
    """Token ids `[1, num_tokens]`: a window of every kind of text in turn, until none has one left."""
    turns = [windows(tokenizer, texts, num_tokens) for texts in kinds]
    while turns:
        for turn in list(turns):
            window = next(turn, None)
            if window is None:
                turns.remove(turn)
            else:
                yield window


def passages_of(entry: Mapping[str, Any]) -> list[str]:
    """Of a MuSiQue entry: titles and texts. They come as a list, or as the text of a Python list."""
    contexts = entry["ctxs"]
    passages = ast.literal_eval(contexts) if isinstance(contexts, str) else contexts
    return [f"{passage['title']}\n{passage['text']}".strip() for passage in passages]
