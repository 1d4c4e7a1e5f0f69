"""`kvstore why-miss` for keys: which part of their identity differs, or where their prompts part."""

from __future__ import annotations

import json
from typing import Any

from connectors.cli.holdings import Held, quality_of
from connectors.cli.miss import Answer, header_of, identity_of_chunk, named, num_held, span
from connectors.cli.output import counted
from connectors.cli.prompt_difference import Prompt
from kvstore import ChunkKey, ChunkTree, chunk_keys

_HASHED = "the tokens, a LoRA adapter, or images in them: of these a key tells nothing"


def compare_keys(tree: ChunkTree, a: Held, b: Held) -> Answer:
    """Of two chunks of one store."""
    parts_a, parts_b = _identity_parts(a), _identity_parts(b)
    differs = {part: {"a": parts_a[part], "b": parts_b[part]} for part in parts_a if parts_a[part] != parts_b[part]}
    if differs:
        parts = "; ".join(f"{part} is {_short(of['a'])} for A, {_short(of['b'])} for B" for part, of in differs.items())
        return Answer(f"Neither is ever reused for the other, whatever the tokens: {parts}.", [], {"differs": differs})
    places_a, places_b = _places(tree, a), _places(tree, b)
    shared = max((place + 1 for key, place in places_a.items() if key in places_b), default=0)
    whole = tree.reachable(a.entry.key) and tree.reachable(b.entry.key)
    more = [] if whole else ["A chunk before one of them is gone: what lies in front of the gap cannot be compared."]
    first = _where_they_part(shared, 1 + max(places_a.values()), 1 + max(places_b.values()), header_of(a).num_tokens)
    return Answer(first, more, {"differs": {}, "shared_chunks": shared, "nothing_missing_before": whole})


def compare_prompt_with_key(tree: ChunkTree, prompt: Prompt, chunk: Held) -> Answer:
    """Of a prompt, asked for as whoever saved the chunk would, and the prompt that the chunk is of."""
    asker, places = identity_of_chunk(chunk), _places(tree, chunk)
    keys, size = chunk_keys(asker, prompt.token_ids), asker.chunk_tokens
    shared = max((place + 1 for place, key in enumerate(keys) if key in places), default=0)
    num_chunks, held = 1 + max(places.values()), num_held(tree, keys)
    if shared == num_chunks:
        first = f"The prompt reaches the chunk: {counted(shared, 'chunk')} up to it, all the prompt's own."
    elif shared == len(keys):
        first = (
            f"The prompt ends before the chunk: {counted(shared, 'full chunk')} of {size} tokens shared, "
            f"the key is of {span(num_chunks - 1, size)}."
        )
    else:
        first = (
            f"They part in {span(shared, size)}, behind {counted(shared, 'shared chunk')}: what differs is {_HASHED}."
        )
    more = [f"Asked for as {named(asker)}, {held} of the prompt's {len(keys)} full chunks are held."]
    return Answer(first, more, {"shared_chunks": shared, "held_chunks": held, "prompt_chunks": len(keys)})


def _where_they_part(shared: int, of_a: int, of_b: int, chunk_tokens: int) -> str:
    if shared == of_a == of_b:
        return "They are the same chunk."
    if shared in (of_a, of_b):
        shorter, longer = ("A", "B") if shared == of_a else ("B", "A")
        return f"They are of one prompt: {longer} lies {counted(abs(of_a - of_b), 'chunk')} behind {shorter}."
    return f"They part in {span(shared, chunk_tokens)}, behind {counted(shared, 'shared chunk')}: what differs is {_HASHED}."


def _places(tree: ChunkTree, chunk: Held) -> dict[ChunkKey, int]:
    """The chunk and those before it, as far back as they are held: which of its prompt's chunks each is."""
    header = header_of(chunk)
    last = header.start // header.num_tokens
    return {entry.key: last - back for back, entry in enumerate(reversed(tree.path(chunk.entry.key)))}


def _identity_parts(chunk: Held) -> dict[str, Any]:
    header = header_of(chunk)
    spec = header.spec
    fields = json.loads(header.spec_json)
    return {
        "model": spec.model,
        "revision": spec.revision,
        "dtype": spec.dtype,
        "number of layers": spec.num_layers,
        "layer groups": fields["groups"],
        "shard": [spec.tp_rank, spec.tp_size],
        "codec": header.codec,
        "quality": quality_of(header),
        "codec parameters": dict(header.codec_params),
        "chunk size": header.num_tokens,
        "tenant": chunk.entry.terms.tenant,
    }


def _short(value: Any) -> str:
    text = value if isinstance(value, str) and value else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
