"""CachedModel: a transformers model whose `generate` keeps its KV in a store and takes it back from there.

What a user writes:

    with CachedModel.open(AutoModelForCausalLM.from_pretrained(name)) as model:
        model.generate(**tokenizer(prompt, return_tensors="pt"), max_new_tokens=64)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Literal, Self

import torch
from transformers import PreTrainedModel, StoppingCriteria, StoppingCriteriaList

from blend import Layout, content_defined
from codec import KVSpec, UnsupportedRotary
from connectors.hf.blending import Blender, Blending, passed_gate
from connectors.hf.cache import StoreCache
from connectors.hf.prefix import Prefix, load_prefix, no_prefix
from connectors.hf.request import Bypass, Request, read_request
from connectors.hf.spec import UnsupportedModel, max_exact_tokens, spec_of
from connectors.save_queue import SaveQueue
from connectors.settings import Settings, build_store, load_settings
from kvstore import InvalidRequest, KVStore, LoRA, SpecMismatch

_log = logging.getLogger(__name__)
_DEFAULT_QUEUE_BYTES = 1 << 30


class CachedModel:
    """Wraps a causal language model; everything but `generate` is the model's own.

    A prompt that begins as an earlier one did loads the chunks held and computes the rest. Full chunks,
    of prompts and of answers, are saved from another thread. What the store cannot serve exactly (see
    `requests_bypassed` in the metrics, and the log) runs as if the store were not there; a model it does
    not support runs so always, and `unsupported` says why.

    Weights are identified once, here: wrap again after changing them.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        store: KVStore,
        *,
        tenant: str = "",
        lora: LoRA | None = None,
        revision: str | None = None,
        save_queue_bytes: int = _DEFAULT_QUEUE_BYTES,
        blending: Blending | None = None,
    ) -> None:
        """`tenant`: nothing is ever found across tenants. `lora`: the adapter that is active in `model`.

        `revision` names the weights (a commit) and saves digesting them. The store is the caller's to close.
        Raises InvalidRequest when the model has adapters loaded and `lora` is not given: their KV would be
        taken for the base model's.
        """
        if getattr(model, "_hf_peft_config_loaded", hasattr(model, "peft_config")) and lora is None:
            raise InvalidRequest("the model has adapters loaded: pass lora=LoRA(name, path) of the active one")
        self.model, self.store = model, store
        self._owned: KVStore | None = None
        self.unsupported: str | None = None
        try:
            self.spec: KVSpec = spec_of(model, revision)
        except UnsupportedModel as error:
            self.unsupported = str(error)
            _log.warning("the store is not used: %s", error)
            return
        self._identity = store.identity(self.spec, tenant, lora)
        self._max_exact_tokens = max_exact_tokens(model)
        self.blender: Blender | None = None
        if blending is not None:
            try:
                self.blender = Blender(model, store, self._identity, blending)
            except (UnsupportedModel, UnsupportedRotary) as error:
                _log.warning("prompts are not blended: %s", error)
        self._queue = SaveQueue(store, save_queue_bytes)

    @classmethod
    def open(cls, model: PreTrainedModel, settings: Settings | None = None, *, lora: LoRA | None = None) -> Self:
        """The model over the store that the settings describe (by default: file and environment).

        Prompts are blended where the gate has found that this model's answers stay close (`kvstore gate`).
        Under codec `auto` the KV is coded with `transform` where the model's profile is at hand, else without loss.
        Closing it closes that store too. Raises what `load_settings` and `build_store` raise.
        """
        settings = settings or load_settings()
        spec, options = _spec_or_none(model), settings.store
        store = build_store(settings, spec)
        try:
            cached = cls(
                model,
                store,
                tenant=options.tenant,
                lora=lora,
                revision=None if spec is None else spec.revision,  # so that the weights are digested once
                save_queue_bytes=options.save_queue_bytes,
                blending=None
                if spec is None
                else passed_gate(settings.store.profile_directory, spec, store.codec, model.device),
            )
        except BaseException:
            store.close()
            raise
        cached._owned = store
        return cached

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["model"], name)

    def generate(
        self,
        inputs: torch.Tensor | None = None,
        *,
        segments: Sequence[tuple[int, int]] | Literal["anywhere"] = (),
        **kwargs: Any,
    ) -> Any:
        """As the model's own `generate`: same arguments, same results, sooner where a prefix is held.

        `segments`, of a single prompt, are the runs `[start, end)` of its tokens that may be reused from wherever
        they stood before, when blending is on: the answer is then close to what it would be, as far as the gate
        found that it is. `anywhere` takes the runs that `content_defined` cuts the prompt into.
        """
        if self.unsupported is not None:
            return self.model.generate(inputs, **kwargs)
        try:
            request = read_request(self.model, {"inputs": inputs, **kwargs}, self._max_exact_tokens)
        except Bypass as reason:
            self.store.metrics.count("requests_bypassed")
            _log.info("a request goes past the store: %s", reason)
            return self.model.generate(inputs, **kwargs)
        layout = _layout(request, segments)
        prefix = self._load(request, layout)
        self.store.metrics.count(
            "tokens_computed", sum(len(row.token_ids) for row in request.rows) - sum(prefix.loaded) - prefix.reused
        )
        if request.copies > 1 and prefix.cache.get_seq_length():
            prefix.cache.batch_repeat_interleave(request.copies)
        save = _FirstToken(self, request, prefix)
        criteria = StoppingCriteriaList([*(kwargs.get("stopping_criteria") or ()), save])
        own = {"past_key_values": prefix.cache, "stopping_criteria": criteria}
        with save:
            output = self.model.generate(inputs, **{**kwargs, **own})
        if prefix.exact and not request.reorders:
            self._save_answers(request, prefix.cache, output)
        if layout and self.blender is not None:
            self._look_after(self.blender, request, prefix, output, None if segments == "anywhere" else layout)
        return output

    def _look_after(
        self, blender: Blender, request: Request, prefix: Prefix, output: Any, learnt: Layout | None
    ) -> None:
        """What blending has done beside the engine, now that the answer is out. Whatever goes wrong, it stays out."""
        try:
            if not prefix.exact and request.copies == 1 and blender.checks.due():
                self._check_blended(blender, request, prefix, output)
            if learnt is not None:
                blender.learn(learnt, self._queue.wait_for_rest)
        except Exception:
            _log.exception("a blended prompt was not looked after")

    def _check_blended(self, blender: Blender, request: Request, prefix: Prefix, output: Any) -> None:
        (row,), sequences = request.rows, output if isinstance(output, torch.Tensor) else output.sequences
        kv = prefix.cache.row(self.spec, 0, row.pad, request.num_columns - 1)
        if kv is not None:
            answer = sequences[0, request.num_columns :].tolist()
            blender.checks.check(row.token_ids, answer, kv, self._queue.wait_for_rest)

    def _load(self, request: Request, layout: Layout | None) -> Prefix:
        """What of the prompts is sooner loaded than computed. Whatever goes wrong there, the engine goes on."""
        self._queue.busy(1)
        try:
            matches = [self.store.match(self._identity, row.token_ids) for row in request.rows]
            planned = [
                self.store.plan(match, len(row.token_ids)) for match, row in zip(matches, request.rows, strict=True)
            ]
            blended = layout and self.blender and self.blender.load(request, layout, planned[0])
            return blended or load_prefix(self.model, self.store, self.spec, request, planned)
        except Exception:
            self.store.metrics.count("loads_failed")
            _log.exception("loading failed for %d prompts", len(request.rows))
            return no_prefix(self.model, request)
        finally:
            self._queue.busy(-1)

    def _save(self, token_ids: list[int], cache: StoreCache, row: int, pad: int, start: int) -> None:
        """Queues the full chunks of `token_ids` from position `start` on, found in `row` of the cache."""
        size = self.store.chunk_tokens
        start, end = start // size * size, len(token_ids) // size * size
        if end <= start:
            return
        try:
            kv = cache.row(self.spec, row, pad + start, pad + end)
        except SpecMismatch:
            self.store.metrics.count("saves_failed")
            _log.exception("the model computes other KV than when it was wrapped: wrap it again")
            return
        if kv is not None:
            self._queue.submit(self._identity, token_ids[:end], kv, start)

    def _save_answers(self, request: Request, cache: StoreCache, output: Any) -> None:
        """Chunks completed by generated tokens, for the next turn. The last token's KV was never computed."""
        sequences = output if isinstance(output, torch.Tensor) else output.sequences
        for index, sequence in enumerate(sequences[:, : cache.get_seq_length()].tolist()):
            row = request.rows[index // request.copies]
            self._save(sequence[row.pad :], cache, index, row.pad, len(row.token_ids))

    def flush(self, timeout_s: float | None = None) -> bool:
        """Waits for what was generated so far to be saved; False when that took longer than `timeout_s`."""
        return self.unsupported is not None or self._queue.flush(timeout_s)

    def close(self) -> None:
        """Saves what is waiting and ends the saving thread, and closes a store of its own. Safe to repeat."""
        if self.unsupported is None:
            self._queue.close()
            if self.blender is not None:
                self.blender.close()
        if self._owned is not None:
            self._owned.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _layout(request: Request, segments: Sequence[tuple[int, int]] | Literal["anywhere"]) -> Layout | None:
    """Of a single prompt with segments. Raises InvalidRequest when these make no sense."""
    if not segments or len(request.rows) > 1:
        return None
    token_ids = request.rows[0].token_ids
    return Layout(tuple(token_ids), tuple(content_defined(token_ids) if segments == "anywhere" else segments))


def _spec_or_none(model: PreTrainedModel) -> KVSpec | None:
    """None for a model that is not supported: wrapping it says why."""
    try:
        return spec_of(model)
    except UnsupportedModel:
        return None


class _FirstToken(StoppingCriteria):
    """Never stops anything: called when the first token is out, it reports the prefill and queues prompts' chunks.

    Entered, it has saving rest until then.
    """

    def __init__(self, model: CachedModel, request: Request, prefix: Prefix) -> None:
        self._model, self._request, self._prefix = model, request, prefix
        self._context = prefix.cache.get_seq_length()
        self._started_s = time.perf_counter()
        self._called = False

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        if not self._called:
            self._called = True
            self._model._queue.busy(-1)
            self._report()
            for index, (row, loaded) in enumerate(zip(self._request.rows, self._prefix.loaded, strict=True)):
                if self._prefix.exact:
                    cache, number = self._prefix.cache, index * self._request.copies
                    self._model._save(row.token_ids, cache, number, row.pad, loaded)
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)

    def __enter__(self) -> Self:
        self._model._queue.busy(1)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._called:  # no token came
            self._model._queue.busy(-1)

    def _report(self) -> None:
        """Of single prompts: a batch's rows take more together, and less each, than a plan for one asks about."""
        if self._prefix.exact and len(self._request.rows) * self._request.copies == 1:
            num_tokens = self._request.num_columns - self._context
            seconds = time.perf_counter() - self._started_s
            self._model.store.cost.computed(self._model.spec.fingerprint(), num_tokens, self._context, seconds)
