"""What blending does to answers: prompts with passages and known answers, blended and computed in full."""

from __future__ import annotations

import copy
import json
import random
import statistics
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from transformers import DynamicCache, PreTrainedModel

from blend import Layout, Segment
from blend.gate import Measured, words_f1
from codec import KVArray, KVSpec
from connectors.hf.blending import Blender
from connectors.hf.corpora import passages_of
from connectors.hf.layouts import layout_of_chat, layout_of_parts
from connectors.hf.prefix import Prefix
from connectors.hf.request import Request, read_request
from connectors.hf.scoring import distortion, kv_of, logits_behind
from kvstore import InvalidRequest, PrefixMatch

ANSWER_TOKENS = 24
_ASKED = "Answer the question from these passages.\n\n"


@dataclass(frozen=True)
class AskedPrompt:
    """A question behind some passages, and its right answers."""

    layout: Layout
    answers: tuple[str, ...]


def asked_prompts(tokenizer: Any, path: Path, num_passages: int, seed: int = 0) -> list[AskedPrompt]:
    """Of a MuSiQue file: each question behind so many of its passages, drawn at random.

    Raises InvalidRequest when the file is none.
    """
    try:
        entries = json.loads(path.read_text())
        return [_asked(tokenizer, entry, num_passages, random.Random(f"{seed} {n}")) for n, entry in enumerate(entries)]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(
            f"{path} is no JSON of questions with `ctxs`, `question` and `answers`: {error}"
        ) from error


def _asked(tokenizer: Any, entry: dict[str, Any], num_passages: int, chosen: random.Random) -> AskedPrompt:
    passages = passages_of(entry)
    some = chosen.sample(passages, min(num_passages, len(passages)))
    return asked_prompt(tokenizer, some, entry["question"], entry["answers"])


def asked_prompt(tokenizer: Any, passages: Sequence[str], question: str, answers: Sequence[str] = ()) -> AskedPrompt:
    """A question behind passages, in the model's chat format where it has one."""
    segments = [Segment(f"{text}\n\n") for text in passages]
    parts: list[str | Segment] = [_ASKED, *segments, f"Question: {question}\nAnswer with a few words."]
    if getattr(tokenizer, "chat_template", None) is None:
        layout = layout_of_parts(tokenizer, [*parts, "\nAnswer:"])
    else:
        layout = layout_of_chat(tokenizer, [{"role": "user", "content": parts}])
    return AskedPrompt(layout, tuple(answers))


def reordered(tokenizer: Any, passages: Sequence[str], questions: Sequence[str]) -> list[AskedPrompt]:
    """Every question behind the same passages, in an order of its own."""
    orders = (random.Random(number).sample(passages, len(passages)) for number in range(len(questions)))
    return [asked_prompt(tokenizer, order, question) for order, question in zip(orders, questions, strict=True)]


class InFull:
    """A prompt computed in full: its answer, and what the model says of every token of it."""

    @torch.no_grad()
    def __init__(self, model: PreTrainedModel, tokenizer: Any, asked: AskedPrompt) -> None:
        self._model, self._tokenizer, self.asked = model, tokenizer, asked
        started_s = time.perf_counter()
        cache = DynamicCache(config=model.config.get_text_config(decoder=True))
        ids = self.input_ids
        first = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[0, -1]
        first.argmax().item()  # waits for the device
        self.first_token_s = time.perf_counter() - started_s
        self.answer = _greedy(model, first, copy.deepcopy(cache))
        rest = logits_behind(model, self._as_ids(self.answer[:-1]), cache)
        self._cache = cache
        self._logits = torch.cat([first[None], rest])

    @property
    def input_ids(self) -> torch.Tensor:
        return self._as_ids(self.asked.layout.token_ids)

    def _as_ids(self, token_ids: Sequence[int]) -> torch.Tensor:
        return torch.tensor([list(token_ids)], device=self._model.device)

    @property
    def f1(self) -> float:
        return words_f1(self._said(self.answer), self.asked.answers)

    def _said(self, answer: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(answer, skip_special_tokens=True)
        return text

    def kv(self, spec: KVSpec) -> KVArray:
        """Of the prompt's tokens but the last."""
        return kv_of(spec, self._cache).tokens(0, len(self.asked.layout.token_ids) - 1)

    def against(self, blender: Blender, share: float) -> Measured:
        """The same prompt, blended. Raises InvalidRequest when none of its segments is held."""
        nothing = PrefixMatch(blender.identity, (), ())
        return self.compared(lambda request: blender.load(request, self.asked.layout, nothing), share)

    @torch.no_grad()
    def compared(self, load: Callable[[Request], Prefix | None], share: float) -> Measured:
        """The same prompt behind what is loaded of it, of which that share is recomputed.

        Raises InvalidRequest when nothing is loaded.
        """
        request = read_request(self._model, {"inputs": self.input_ids, "max_new_tokens": ANSWER_TOKENS}, None)
        started_s = time.perf_counter()
        prefix = load(request)
        if prefix is None:
            raise InvalidRequest("none of the prompt's segments is held: warm them first")
        last = self._as_ids(self.asked.layout.token_ids[-1:])
        first = self._model(input_ids=last, past_key_values=prefix.cache, use_cache=True).logits[0, -1]
        first.argmax().item()
        taken_s = time.perf_counter() - started_s
        rest = logits_behind(self._model, self._as_ids(self.answer[:-1]), prefix.cache)
        apart = distortion(self._logits, torch.cat([first[None], rest]), torch.tensor(self.answer, device=rest.device))
        answer = _greedy(self._model, first, prefix.cache)
        f1 = words_f1(self._said(answer), self.asked.answers)
        same = float(answer == self.answer)
        return Measured(share, apart.kl, apart.top1, same, f1, self.first_token_s / taken_s)


Way = TypeVar("Way", bound=Hashable)
Step = Callable[[str], object]


@dataclass(frozen=True)
class Comparison(Generic[Way]):
    """What each way of blending does to answers, and the same prompts in full."""

    measured: Mapping[Way, Measured]
    full_f1: float
    full_s: float


def compare(
    model: PreTrainedModel,
    tokenizer: Any,
    blenders: Mapping[Way, tuple[float, Blender]],
    prompts: Sequence[AskedPrompt],
    step: Step = lambda doing: None,
) -> Comparison[Way]:
    """Every prompt, in full and by every way: the share that it recomputes, and its blender. `step`: `num_steps` times.

    The blenders share a store, in which the prompts' segments are saved.
    """
    _, warming = next(iter(blenders.values()))
    for _ in warming.warm(segments_of(prompts)):
        step("computing passages")
    points: dict[Way, list[Measured]] = {way: [] for way in blenders}
    full_f1, full_s = [], []
    for asked in prompts:
        full = InFull(model, tokenizer, asked)
        full_f1.append(full.f1)
        full_s.append(full.first_token_s)
        step("computing a prompt in full")
        for way, (share, blender) in blenders.items():
            points[way].append(full.against(blender, share))
            step(f"recomputing {share:.0%}")
    measured = {way: averaged(of_way) for way, of_way in points.items()}
    return Comparison(measured, statistics.fmean(full_f1), statistics.median(full_s))


def num_steps(prompts: Sequence[AskedPrompt], num_ways: int) -> int:
    """How often `compare` calls `step`."""
    return len(list(segments_of(prompts))) + len(prompts) * (1 + num_ways)


def averaged(points: Sequence[Measured]) -> Measured:
    """Means; of what is sooner, the median."""
    means = {name: statistics.fmean(getattr(point, name) for point in points) for name in ("kl", "top1", "f1")}
    same = statistics.fmean(point.same_answer for point in points)
    sooner = statistics.median(point.sooner for point in points)
    return Measured(points[0].share, same_answer=same, sooner=sooner, **means)


def segments_of(prompts: Sequence[AskedPrompt]) -> Iterator[tuple[int, ...]]:
    """The token ids of each prompt's segments."""
    for asked in prompts:
        for segment in asked.layout.segments:
            yield asked.layout.tokens(segment)


def _greedy(model: PreTrainedModel, logits: torch.Tensor, cache: DynamicCache) -> list[int]:
    """`ANSWER_TOKENS` tokens behind what is in the cache, which is used up."""
    answer: list[int] = []
    while True:
        answer.append(int(logits.argmax()))
        if len(answer) == ANSWER_TOKENS:
            return answer
        ids = torch.tensor([answer[-1:]], device=model.device)
        logits = model(input_ids=ids, past_key_values=cache, use_cache=True).logits[0, -1]
