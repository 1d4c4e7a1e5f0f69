"""Spot checks: some blended prompts are computed in full as well, beside the engine, to see that they stay close."""

from __future__ import annotations

import logging
import random
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from transformers import PreTrainedModel

from blend.gate import Watch
from codec import KVArray
from connectors.hf.scoring import cache_of, distortion, logits_behind
from connectors.niceness import go_last
from kvstore import Metrics

_log = logging.getLogger(__name__)
_ANSWER_TOKENS = 24


class SpotChecks:
    """Of one served model. `within` turns False when the answers checked lately are beyond the bound, for good."""

    def __init__(self, model: PreTrainedModel, metrics: Metrics, bound: float, share: float) -> None:
        """`share` of the prompts are checked, one at a time: what comes while one is under way is not."""
        self._model, self._metrics, self._share = model, metrics, share
        self._watch, self._chosen = Watch(bound), random.Random(0)
        self._thread = ThreadPoolExecutor(1, "kvstore-check", initializer=go_last)
        self._under_way: Future[None] | None = None
        self.within = True

    def due(self) -> bool:
        """Whether the prompt that was just blended is to be checked."""
        free = self._under_way is None or self._under_way.done()
        return free and self._chosen.random() < self._share

    def check(self, token_ids: list[int], answer: list[int], kv: KVArray) -> None:
        """Returns at once. `kv` is of the prompt's tokens but the last, as it was blended, and stays as it is."""
        self._under_way = self._thread.submit(self._check, token_ids, answer[:_ANSWER_TOKENS], kv)

    def _check(self, token_ids: list[int], answer: list[int], kv: KVArray) -> None:
        try:
            said = torch.tensor([[token_ids[-1], *answer[:-1]]], device=self._model.device)
            blended = logits_behind(self._model, said, cache_of(self._model, kv))
            whole = torch.tensor([[*token_ids, *answer[:-1]]], device=self._model.device)
            exact = logits_behind(self._model, whole)[len(token_ids) - 1 :]
            kl = distortion(exact, blended, torch.tensor(answer, device=self._model.device)).kl
        except Exception:  # whatever it is, nobody waits for it
            _log.exception("a blended prompt could not be checked")
            return
        self._watch.saw(kl)
        self._metrics.count("blends_checked")
        if self.within and not self._watch.within:
            self.within = False
            self._metrics.count("blending_stopped")
            _log.error("prompts are no longer blended: answers checked lately are beyond the bound; see `kvstore gate`")

    def wait(self) -> None:
        """Until no check is under way."""
        if self._under_way is not None:
            self._under_way.result()

    def close(self) -> None:
        self._thread.shutdown()
