"""Spot checks: some blended prompts are computed in full as well, beside the engine, to see that they stay close."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from functools import partial

import torch
from transformers import PreTrainedModel

from blend.gate import Watch
from codec import KVArray
from connectors.hf.scoring import cache_of, distortion, logits_behind
from kvstore import Background, Metrics

_log = logging.getLogger(__name__)
_ANSWER_TOKENS = 24


class SpotChecks:
    """Of one served model. `within` turns False when the answers checked lately are beyond the bound, for good."""

    def __init__(
        self, model: PreTrainedModel, metrics: Metrics, beside: Background, bound: float, share: float
    ) -> None:
        """`share` of the prompts are checked, those left out that come while something is under way `beside`."""
        self._model, self._metrics, self._beside, self._share = model, metrics, beside, share
        self._watch, self._chosen = Watch(bound), random.Random(0)
        self.within = True

    def due(self) -> bool:
        """Whether the prompt that was just blended is to be checked."""
        return self._beside.idle and self._chosen.random() < self._share

    def check(self, token_ids: list[int], answer: list[int], kv: KVArray, pace: Callable[[], object]) -> None:
        """Returns at once. `kv` is of the prompt's tokens but the last, as it was blended, and stays as it is.

        `pace` is called before each of the model's passes, and may wait.
        """
        self._beside.submit(partial(self._check, token_ids, answer[:_ANSWER_TOKENS], kv, pace))

    def _check(self, token_ids: list[int], answer: list[int], kv: KVArray, pace: Callable[[], object]) -> None:
        pace()
        said = torch.tensor([[token_ids[-1], *answer[:-1]]], device=self._model.device)
        blended = logits_behind(self._model, said, cache_of(self._model, kv))
        pace()
        whole = torch.tensor([[*token_ids, *answer[:-1]]], device=self._model.device)
        exact = logits_behind(self._model, whole, last=len(answer))
        self._watch.saw(distortion(exact, blended, torch.tensor(answer, device=self._model.device)).kl)
        self._metrics.count("blends_checked")
        if self.within and not self._watch.within:
            self.within = False
            self._metrics.count("blending_stopped")
            _log.error("prompts are no longer blended: answers checked lately are beyond the bound; see `kvstore gate`")
