"""A vLLM engine in a process of its own, asked line by line: `Engine` is the asking end, `main` the other one.

It imports nothing of ours: vLLM for CPUs does not start in a process that has numba loaded.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

ENVIRONMENT = {
    "VLLM_CPU_OMP_THREADS_BIND": "0",  # else any connector changes how many threads vLLM's CPU backend takes
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}
_MARK = "answer "


@dataclass(frozen=True)
class Answer:
    """Of one prompt: seconds to the first token, tokens that were not computed, tokens generated."""

    first_token_s: float
    cached: int
    token_ids: list[int]


class Engine(AbstractContextManager["Engine"]):
    """Ready when it is made. Raises RuntimeError, with what vLLM said, when it does not start."""

    def __init__(self, model: Path, dtype: str, connector: Mapping[str, Any] | None, **options: Any) -> None:
        """`connector` is vLLM's kv_transfer_config; `options` are those of `vllm.LLM`."""
        job = {"model": str(model), "dtype": dtype, "kv_transfer_config": connector, **options}
        environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.vllm_engine", json.dumps(job)],
            env={**environment, **ENVIRONMENT},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None, "it was asked for"
        for line in self._process.stdout:
            if line.startswith(_MARK):
                return json.loads(line.removeprefix(_MARK))
        raise RuntimeError("the engine has ended; what it said is above")

    def _ask(self, **question: Any) -> Any:
        assert self._process.stdin is not None, "it was asked for"
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._read()

    def generate(self, prompts: Sequence[Sequence[int]], max_tokens: int = 1, **sampling: Any) -> list[Answer]:
        """All at once; greedily, unless the parameters for sampling say otherwise."""
        sampling = {"temperature": 0, "ignore_eos": True, "max_tokens": max_tokens, **sampling}
        answers = self._ask(prompts=[list(prompt) for prompt in prompts], sampling=sampling)
        return [Answer(**answer) for answer in answers]

    def predictions(self, prompts: Sequence[Sequence[int]]) -> tuple[np.ndarray, list[int]]:
        """Log-probabilities of the token behind each prompt, float32 `[prompt, vocabulary]`, and how many tokens of
        each were not computed. The engine needs the option `max_logprobs=-1`."""
        sampling = {"temperature": 0, "max_tokens": 1, "logprobs": -1}
        answers = self._ask(predict=True, prompts=[list(prompt) for prompt in prompts], sampling=sampling)
        rows = [np.frombuffer(base64.b64decode(answer["predicted"]), np.float32) for answer in answers]
        return np.stack(rows), [answer["cached"] for answer in answers]

    def forget(self) -> None:
        """Empties the engine's own prefix cache."""
        self._ask(forget=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None, "it was asked for"
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    from vllm import LLM, SamplingParams

    options = {"enforce_eager": True, "disable_log_stats": False, **json.loads(sys.argv[1])}
    llm = LLM(**options)
    print(_MARK + "null", flush=True)
    for line in sys.stdin:
        question, answers = json.loads(line), None
        if "forget" in question:
            llm.reset_prefix_cache()
        else:
            prompts = [{"prompt_token_ids": prompt} for prompt in question["prompts"]]
            outputs = llm.generate(prompts, SamplingParams(**question["sampling"]), use_tqdm=False)
            answers = [_predicted(output) if "predict" in question else asdict(_answer(output)) for output in outputs]
        print(_MARK + json.dumps(answers), flush=True)


def _answer(output: Any) -> Answer:
    return Answer(output.metrics.first_token_latency, output.num_cached_tokens, list(output.outputs[0].token_ids))


def _predicted(output: Any) -> dict[str, Any]:
    (behind,) = output.outputs[0].logprobs
    row = np.empty(len(behind), np.float32)
    for token_id, predicted in behind.items():
        row[token_id] = predicted.logprob
    return {"predicted": base64.b64encode(row.tobytes()).decode(), "cached": output.num_cached_tokens}


if __name__ == "__main__":
    main()
