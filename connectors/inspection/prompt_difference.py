"""Why one prompt is not found for another: the first token that differs, and how much of each a store holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from connectors.counted import counted
from connectors.inspection.miss import Answer, named, num_held, span
from kvstore import ChunkTree, Identity, chunk_keys

_AROUND = 8  # tokens of text shown on either side of the difference


@dataclass(frozen=True)
class Prompt:
    """A prompt's tokens, and the tokenizer that says what they mean, where there is one."""

    token_ids: list[int]
    tokenizer: Any = None

    def text(self, start: int, end: int) -> str:
        """Of tokens [start, end); their ids where there is no tokenizer."""
        ids = self.token_ids[max(start, 0) : end]
        return str(ids) if self.tokenizer is None else repr(self.tokenizer.decode(ids))


def compare_prompts(tree: ChunkTree, a: Prompt, b: Prompt, askers: Sequence[Identity], chunk_tokens: int) -> Answer:
    """`askers` are the identities of the store; `chunk_tokens` counts where they are not of one chunk size."""
    sizes = {asker.chunk_tokens for asker in askers}
    size = sizes.pop() if len(sizes) == 1 else chunk_tokens
    position = _first_difference(a.token_ids, b.token_ids)
    held = [held for asker in askers if (held := _held(tree, asker, a, b))["a"] or held["b"]]
    facts = {
        "tokens": {"a": len(a.token_ids), "b": len(b.token_ids)},
        "first_difference": _difference(a, b, position),
        "chunk_tokens": size,
        "shared_chunks": position // size,
        "held": held,
    }
    return Answer(_first_line(a, b, position, size), _more(a, b, position, size, held), facts)


def _first_line(a: Prompt, b: Prompt, position: int, size: int) -> str:
    shared = f"{counted(position // size, 'chunk')} of {size} tokens shared"
    ends = position == len(a.token_ids), position == len(b.token_ids)
    if all(ends):
        same = f"The prompts are the same {counted(position, 'token')}: {shared}"
        return f"{same}; if nothing was reused, the identity differs."
    if any(ends):
        shorter, longer = ("A", "B") if ends[0] else ("B", "A")
        return f"{longer} begins with all {counted(position, 'token')} of {shorter}: {shared}."
    ids = f"A has {_one(a, position)}, B has {_one(b, position)}"
    return f"They part at token {position}, in {span(position // size, size)}: {ids}; {shared}."


def _more(a: Prompt, b: Prompt, position: int, size: int, held: list[dict[str, Any]]) -> list[str]:
    lines = []
    if position < max(len(a.token_ids), len(b.token_ids)):
        for name, prompt in (("A", a), ("B", b)):
            before, behind = prompt.text(position - _AROUND, position), prompt.text(position, position + _AROUND)
            lines.append(f"{name}: ...{before} | {behind}...")
    for name, prompt in (("A", a), ("B", b)):
        if len(prompt.token_ids) < size:
            lines.append(
                f"{name} has {counted(len(prompt.token_ids), 'token')}: less than a chunk, so nothing of it is kept."
            )
    lines += [f"As {of['identity']}: {of['a']} leading chunks of A are held, {of['b']} of B." for of in held]
    if not held:
        lines.append("No store at hand holds a chunk of either, without a LoRA adapter or images.")
    return lines


def _held(tree: ChunkTree, asker: Identity, a: Prompt, b: Prompt) -> dict[str, Any]:
    of_a, of_b = (num_held(tree, chunk_keys(asker, prompt.token_ids)) for prompt in (a, b))
    return {"identity": named(asker), "spec_fingerprint": asker.spec.fingerprint(), "a": of_a, "b": of_b}


def _difference(a: Prompt, b: Prompt, position: int) -> dict[str, Any] | None:
    """None for equal prompts; a prompt that ends there has no token."""
    if position == len(a.token_ids) == len(b.token_ids):
        return None
    tokens = [prompt.token_ids[position] if position < len(prompt.token_ids) else None for prompt in (a, b)]
    return {"position": position, "a": tokens[0], "b": tokens[1]}


def _first_difference(a: Sequence[int], b: Sequence[int]) -> int:
    """The first position at which they differ, or where the shorter one ends."""
    pairs = zip(a, b, strict=False)
    return next((index for index, (ours, theirs) in enumerate(pairs) if ours != theirs), min(len(a), len(b)))


def _one(prompt: Prompt, position: int) -> str:
    token = str(prompt.token_ids[position])
    return token if prompt.tokenizer is None else f"{token} ({prompt.text(position, position + 1)})"
