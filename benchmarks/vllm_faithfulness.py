"""Does vLLM predict on top of KV that it loads what it predicts on top of its own?

Prompts of a real text and the greedy answers of an engine without a store. Behind the prompt and every token of its
answer but the last: the distribution of the next token, with the prompt in the engine's own prefix cache, and in a new
engine with the prompt loaded from disk. KL and top-1 between the two, for each codec; beside them, behind the prompts
alone, the same engine's without any cached token, which differs by the shapes of its matrix products alone.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer

from benchmarks.disk_directory import wait_for_saves
from benchmarks.report import Check, at_least, at_most, parser, publish
from benchmarks.vllm_engine import Engine
from connectors.hf.calibrate import LEVEL_KL
from connectors.hf.models import demo_model_dir, fast_dtype
from connectors.hf.prompts import shipped_document
from connectors.hf.scoring import distortion

_SHIFT = 977  # tokens between the beginnings of two prompts
_BOUND = {"transform": LEVEL_KL["balanced"], "lossless": 1e-6}


def main() -> None:
    arguments = _arguments()
    prompts = _prompts(arguments)
    with tempfile.TemporaryDirectory(prefix="kvstore-vllm-", dir=arguments.path) as scratch:
        with _engine(arguments, None) as engine:
            answers = [engine.generate([prompt], arguments.tokens)[0].token_ids for prompt in prompts]
            asked = [[*p, *a[:n]] for p, a in zip(prompts, answers, strict=True) for n in range(len(a))]
            own, _ = engine.predictions(asked)
            engine.forget()
            first = slice(None, None, arguments.tokens)  # computing takes seconds each
            rows = [
                _row(
                    "computed",
                    *_in_turn(engine, asked[first], anew=True),
                    own[first],
                    [answer[:1] for answer in answers],
                )
            ]
        rows += [_loaded(arguments, codec, Path(scratch) / codec, prompts, asked, own, answers) for codec in _BOUND]
    publish("vllm_faithfulness", rows, _checks(rows), arguments.json)


def _arguments() -> argparse.Namespace:
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--model", type=Path, help="directory; the demo model where absent")
    options.add_argument("--prompts", type=int, default=8)
    options.add_argument("--length", type=int, default=1024, help="tokens of a prompt")
    options.add_argument("--tokens", type=int, default=24, help="of an answer")
    options.add_argument("--path", type=Path, default=Path(), help="a directory on the disk to load from")
    arguments = options.parse_args()
    arguments.model = arguments.model or demo_model_dir()
    if arguments.quick:
        arguments.prompts, arguments.length, arguments.tokens = 1, 256, 4
    return arguments


def _prompts(arguments: argparse.Namespace) -> list[list[int]]:
    text = AutoTokenizer.from_pretrained(arguments.model)(shipped_document()).input_ids
    return [text[start : start + arguments.length] for start in range(0, arguments.prompts * _SHIFT, _SHIFT)]


def _engine(arguments: argparse.Namespace, connector: dict[str, Any] | None) -> Engine:
    longest = arguments.length + arguments.tokens + 1
    options = {"max_model_len": longest, "max_num_batched_tokens": longest, "max_logprobs": -1}
    return Engine(arguments.model, str(fast_dtype()).removeprefix("torch."), connector, **options)


def _in_turn(engine: Engine, asked: Sequence[list[int]], anew: bool = False) -> tuple[np.ndarray, list[int]]:
    """One by one: of many at once some are computed, for want of room to load into. `anew`: from the first token on."""
    found = []
    for prompt in asked:
        if anew:
            engine.forget()
        found.append(engine.predictions([prompt]))
    return np.concatenate([rows for rows, _ in found]), [cached for _, (cached,) in found]


def _loaded(
    arguments: argparse.Namespace,
    codec: str,
    directory: Path,
    prompts: Sequence[list[int]],
    asked: Sequence[list[int]],
    own: np.ndarray,
    answers: Sequence[list[int]],
) -> dict[str, Any]:
    settings = {"store.path": str(directory), "store.codec": codec, "store.load": "always", "memory.capacity_bytes": 0}
    store = {"kv_connector": "KVStoreConnector", "kv_role": "kv_both", "kv_connector_extra_config": settings}
    with _engine(arguments, store) as engine:
        for prompt in prompts:
            engine.generate([prompt])
    wait_for_saves(directory)
    with _engine(arguments, store) as engine:
        return _row(codec, *_in_turn(engine, asked), own, answers)


def _row(
    name: str, predicted: np.ndarray, cached: Sequence[int], own: np.ndarray, answers: Sequence[list[int]]
) -> dict[str, Any]:
    followed_by = torch.tensor([token for answer in answers for token in answer])
    apart = distortion(torch.from_numpy(own), torch.from_numpy(predicted), followed_by)
    return {"kv": name, "predictions": len(own), "least_cached": min(cached), "kl": apart.kl, "top1": apart.top1}


def _checks(rows: Sequence[dict[str, Any]]) -> list[Check]:
    loaded = [row for row in rows if row["kv"] in _BOUND]
    return [
        *(at_most(f"{row['kv']}: KL", row["kl"], _BOUND[row["kv"]]) for row in loaded),
        *(at_least(f"{row['kv']}: tokens not computed", row["least_cached"], 1) for row in loaded),
    ]


if __name__ == "__main__":
    main()
