"""`kvstore why-miss`: why one prompt does not find what another one left."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from connectors.cli.options import JsonOption, PlaceOption
from connectors.cli.output import print_json, print_line, tracked
from connectors.cli.place import open_reader, place_of
from connectors.cli.prompt_file import read_prompt
from connectors.inspection.holdings import find_held
from connectors.inspection.key_difference import compare_keys, compare_prompt_with_key
from connectors.inspection.miss import Answer, identities
from connectors.inspection.prompt_difference import Prompt, compare_prompts
from connectors.settings import load_settings
from kvstore import ChunkTree, InvalidRequest, Tier, TierUnavailable

_KEY = re.compile("[0-9a-fA-F]{8,64}", re.ASCII)


def why_miss(
    a: Annotated[str, typer.Argument(metavar="A", help="A key (8 digits or more), or the file of a prompt.")],
    b: Annotated[str, typer.Argument(metavar="B", help="What to compare it with: a key or a file.")],
    model: Annotated[str, typer.Option(metavar="DIR", help="Whose tokenizer reads prompts that are text.")] = "",
    store: PlaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say why the KV of one prompt is not reused for another: where they part, or what of their identity differs.

    A prompt is a file with a JSON list of token ids, or with text, which is taken as it is: apply the chat
    template that the engine applies. Of two keys the model, dtype, codec, chunk size and tenant are
    compared, then the chunks before them. Tokens, LoRA adapters and images are only hashed into keys: what
    differs in them is found from prompts, not from keys.

    Example: kvstore why-miss monday.txt tuesday.txt --model DIR
    """
    prompts = [None if _names_key(name) else read_prompt(Path(name), model) for name in (a, b)]
    with ExitStack() as stack:
        reader = _open(stack, store, needed=None in prompts)
        answer = _answer(reader, (a, b), prompts, hidden=as_json)
    if as_json:
        print_json({"answer": answer.first, **answer.facts})
    else:
        for line in (answer.first, *answer.more):
            print_line(line)


def _names_key(name: str) -> bool:
    if Path(name).is_file():
        return False
    if _KEY.fullmatch(name):
        return True
    raise InvalidRequest(f"{name!r} is no file, and no key either: a key is 8 to 64 hex digits")


def _open(stack: ExitStack, store: str | None, needed: bool) -> Tier | None:
    """The store; two prompts can do without one, unless it was asked for."""
    try:
        return stack.enter_context(open_reader(place_of(store)))
    except TierUnavailable:
        if needed or store is not None:
            raise
        return None


def _answer(reader: Tier | None, names: tuple[str, str], prompts: list[Prompt | None], hidden: bool) -> Answer:
    tree = ChunkTree(() if reader is None else reader.entries())
    a, b = prompts
    if a is not None and b is not None:
        askers = [] if reader is None else identities(reader, tree, tracked("reading headers", hidden))
        return compare_prompts(tree, a, b, askers, load_settings().store.chunk_tokens)
    assert reader is not None, "keys need a store"
    if a is None and b is None:
        return compare_keys(tree, find_held(reader, tree, names[0]), find_held(reader, tree, names[1]))
    if a is None:
        assert b is not None
        return compare_prompt_with_key(tree, b, find_held(reader, tree, names[0]))
    return compare_prompt_with_key(tree, a, find_held(reader, tree, names[1]))
