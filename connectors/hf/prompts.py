"""Prompts that share a long context: a document, cut to a number of tokens, and a question behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import torch

from kvstore import InvalidRequest

_MARK = "\u2402"  # stands for the document while the chat template is rendered


def shipped_document() -> str:
    """The Declaration of Independence and the Constitution of the United States: public domain, 12,800 tokens."""
    return (files("connectors.hf") / "documents" / "founding_documents.txt").read_text(encoding="utf-8")


@dataclass(frozen=True)
class SharedContext:
    """`context` `[1, num_tokens]`, and per question the ids `[1, n]` that follow it."""

    context: torch.Tensor
    questions: tuple[torch.Tensor, ...]

    @property
    def num_tokens(self) -> int:
        return self.context.shape[1]

    def prompts(self) -> list[torch.Tensor]:
        """Context and question, `[1, tokens]` each."""
        return [torch.cat([self.context, question], dim=1) for question in self.questions]


def shared_context(tokenizer: Any, document: str, questions: Sequence[str], num_tokens: int) -> SharedContext:
    """The document's beginning, in the model's chat format where it has one, as exactly `num_tokens` tokens.

    Raises InvalidRequest when the document is too short.
    """
    before, after = _template(tokenizer)
    context = tokenizer(before + document, add_special_tokens=not before).input_ids
    if len(context) < num_tokens:
        raise InvalidRequest(f"the text has {len(context)} tokens; a context of {num_tokens} needs a longer one")
    tails = [tokenizer(after.replace(_MARK, text), add_special_tokens=False).input_ids for text in questions]
    return SharedContext(torch.tensor([context[:num_tokens]]), tuple(torch.tensor([tail]) for tail in tails))


def passages_of_text(tokenizer: Any, document: str, num_passages: int, num_tokens: int) -> list[str]:
    """The document's first paragraphs, put together to passages of about `num_tokens` tokens each.

    Raises InvalidRequest when the document is too short.
    """
    passages, passage = [], ""
    for paragraph in document.split("\n\n"):
        passage = f"{passage}\n\n{paragraph}".strip()
        if len(tokenizer(passage, add_special_tokens=False).input_ids) >= num_tokens:
            passages.append(passage)
            passage = ""
        if len(passages) == num_passages:
            return passages
    raise InvalidRequest(f"the text has {len(passages)} passages of {num_tokens} tokens, not {num_passages}")


def _template(tokenizer: Any) -> tuple[str, str]:
    """What stands before the document, and what follows it, with a mark where the question goes."""
    question = f"\n\nQuestion: {_MARK}\nAnswer in one sentence."
    if getattr(tokenizer, "chat_template", None) is None:
        return "", question + "\nAnswer:"
    messages = [{"role": "user", "content": f"{_MARK}{_MARK}{question}"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    before, _, after = text.partition(_MARK + _MARK)
    return before, after
