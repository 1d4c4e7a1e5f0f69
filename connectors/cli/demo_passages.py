"""The demo's second part: passages in a new order, each computed once and reused wherever it stands."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from codec import Codec, UnsupportedRotary
from connectors.cli.output import print_line, print_table
from kvstore import InvalidRequest, KVStore, MemoryTier

_log = logging.getLogger(__name__)
NUM_PASSAGES, PASSAGE_TOKENS = 10, 200
_SHARES = (0.0, 0.25)
_STORE_BYTES = 4 << 30


def num_steps(questions: Sequence[str]) -> int:
    """How often `reused_passages` calls `step`."""
    return NUM_PASSAGES * len(questions) + len(questions) * (1 + len(_SHARES))


def reused_passages(
    model: Any,
    tokenizer: Any,
    codec: Codec,
    document: str,
    questions: Sequence[str],
    step: Callable[[str], object],
) -> dict[str, Any] | None:
    """Every question behind the same passages in an order of its own, blended and in full.

    None when the text is too short for that, or the model cannot be blended.
    """
    from connectors.hf.blend_quality import compare, reordered  # transformers takes seconds to import
    from connectors.hf.blending import Blender, Blending, sink_of
    from connectors.hf.prompts import passages_of_text
    from connectors.hf.spec import UnsupportedModel, spec_of

    ways = {share: Blending(share, share, behind=sink_of(tokenizer)) for share in _SHARES}
    with KVStore([MemoryTier(_STORE_BYTES)], codec) as store:
        try:
            passages = passages_of_text(tokenizer, document, NUM_PASSAGES, PASSAGE_TOKENS)
            blender = Blender(model, store, store.identity(spec_of(model)), ways[0.0])
        except (InvalidRequest, UnsupportedModel, UnsupportedRotary) as error:
            _log.warning("passages are left out: %s", error)
            return None
        prompts = reordered(tokenizer, passages, questions)
        blenders = {share: (share, blender.in_way(way)) for share, way in ways.items()}
        found = compare(model, tokenizer, blenders, prompts, step)
    tokens = len(prompts[0].layout.token_ids)
    rows = [asdict(point) for point in found.measured.values()]
    return {"codec": codec.id, "passages": len(passages), "tokens": tokens, "full_s": found.full_s, "blended": rows}


def print_reused(report: dict[str, Any]) -> None:
    """As a table."""
    size = f"{report['passages']} passages in a new order, {report['tokens']:,} tokens"
    print_line(f"\n{size}, {report['codec']}, from RAM: time to first token")
    columns = ["recomputed>", "first token>", "sooner>", "KL>", "top-1>"]
    full = ("all", f"{report['full_s']:.2f} s", "", "", "")
    blended = [
        (
            f"{row['share']:.0%}",
            f"{report['full_s'] / row['sooner']:.2f} s",
            f"{row['sooner']:.1f}x",
            f"{row['kl']:.4f}",
            f"{row['top1']:.1%}",
        )
        for row in report["blended"]
    ]
    print_table(columns, [full, *blended])
    print_line(
        "Passages were computed alone, once; here they stand behind others. KL and top-1: the first tokens of the\n"
        "answers, against those of the same prompts computed in full. `kvstore gate` finds how much to recompute."
    )
