"""Why one key is not found for another: which part of their identity differs, or where their prompts part."""

from __future__ import annotations

import json
from typing import Any

from connectors.counted import counted
from connectors.inspection.holdings import Held, quality_of
from connectors.inspection.miss import Answer, header_of, identity_of_chunk, named, num_held, span
from connectors.inspection.prompt_difference import Prompt
from kvstore import ChunkKey, ChunkTree, chunk_keys


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
    known_from = max(min(places_a.values()), min(places_b.values()))
    last_a, last_b = max(places_a.values()), max(places_b.values())
    first = _how_they_relate(shared, last_a, last_b, known_from, header_of(a).num_tokens)
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
        first = _parting(shared, min(places.values()), size)
    more = [f"Asked for as {named(asker)}, {held} of the prompt's {len(keys)} full chunks are held."]
    return Answer(first, more, {"shared_chunks": shared, "held_chunks": held, "prompt_chunks": len(keys)})


def _how_they_relate(shared: int, last_a: int, last_b: int, known_from: int, chunk_tokens: int) -> str:
    """`last_a` and `last_b` say which of its prompt's chunks each is, from 0; otherwise as `_parting`."""
    if shared == last_a + 1 == last_b + 1:
        return "They are the same chunk."
    if shared in (last_a + 1, last_b + 1):
        shorter, longer = ("A", "B") if last_a < last_b else ("B", "A")
        return f"They are of one prompt: {longer} lies {counted(abs(last_a - last_b), 'chunk')} behind {shorter}."
    return _parting(shared, known_from, chunk_tokens)


def _parting(shared: int, known_from: int, chunk_tokens: int) -> str:
    """`shared` leading chunks are known to be; of chunks before `known_from` nothing is held."""
    if not shared and known_from:
        return (
            f"They part before the end of {span(known_from, chunk_tokens)}; chunks before it that could tell are gone."
        )
    hashed = "tokens or images" if shared else "tokens, images or LoRA adapter"  # what is shared is of one adapter
    where = f"in {span(shared, chunk_tokens)}, behind {counted(shared, 'shared chunk')}"
    return f"They part {where}: their {hashed} differ, which a key only hashes."


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
