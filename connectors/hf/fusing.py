"""Runs a transformers model over a prompt of which some KV is reused: through hooks on its layers, none is copied.

Each decoder layer is called with the hidden states of the tokens that go on, their rotary embedding, and a mask over
all tokens; its attention finds the KV of all of them in the cache. That works wherever layers are called with
`attention_mask` and `position_embeddings` by name, which transformers' decoders with rotary embeddings do;
`require_fusing` finds out by trying.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache, PreTrainedModel

from blend import Fusion, Packing, Prefill, Shares
from blend.select import AtRandom
from codec import KVArray, KVSpec
from connectors.hf.causal_blocks import CausalBlocks
from connectors.hf.scoring import kv_of
from connectors.hf.spec import UnsupportedModel

_ATTENTION = "sdpa"  # takes a mask of its own, and is causal without one
_REGISTERING = threading.Lock()  # torch registers a hook in several steps
_TRIED_TOKENS = 12
_CLOSE = 0.02  # of the largest number: products of other shapes round otherwise


class _Probed(Exception):
    """Ends a layer when its keys and values are known."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.kv = keys[0], values[0]


class _PrefillCache(DynamicCache):
    """Gives attention the KV of all tokens for that of those being computed."""

    def __init__(self, config: Any, prefill: Prefill) -> None:
        super().__init__(config=config)
        self._prefill, self.probing = prefill, False

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any) -> Any:
        if self.probing:
            raise _Probed(key_states, value_states)
        keys, values = self._prefill.put(layer_idx, key_states[0], value_states[0])
        return keys[None], values[None]


class _Hooks:
    """What happens before each layer."""

    def __init__(self, prefill: Prefill, cache: _PrefillCache) -> None:
        self._prefill, self._cache = prefill, cache

    @contextmanager
    def on(self, layers: nn.ModuleList) -> Iterator[None]:
        with _REGISTERING:
            handles = [
                layer.register_forward_pre_hook(self._before(number), with_kwargs=True)
                for number, layer in enumerate(layers)
            ]
        try:
            yield
        finally:
            with _REGISTERING:
                for handle in handles:
                    handle.remove()

    def _before(self, number: int) -> Any:
        def before(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
            # Another thread's forward pass; while the hook is being removed it is called without their names.
            if kwargs is None or kwargs.get("past_key_values") is not self._cache:
                return None
            if not args or not {"attention_mask", "position_embeddings"} <= kwargs.keys():
                raise UnsupportedModel(f"{type(layer).__name__} is not called as layers that can be fused are")
            fresh = self._probe(layer, args, self._of_active(number, kwargs)) if self._prefill.probes(number) else None
            kept = self._prefill.narrow(number, fresh)
            hidden = args[0] if kept is None else args[0][:, kept]
            return (hidden, *args[1:]), self._of_active(number, kwargs)

        return before

    def _of_active(self, number: int, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The layer's arguments, which are those of all tokens computed, for those that are active."""
        prefill = self._prefill
        cos, sin = (part[:, prefill.rows] for part in kwargs["position_embeddings"])
        own = {"attention_mask": prefill.mask(number, cos.dtype), "position_embeddings": (cos, sin)}
        return {**kwargs, **own, "position_ids": prefill.positions[None]}

    def _probe(
        self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The layer's keys and values of all active tokens, and nothing more of it."""
        self._cache.probing = True
        try:
            layer.forward(*args, **kwargs)
        except _Probed as probed:
            return probed.kv
        finally:
            self._cache.probing = False
        raise UnsupportedModel(f"{type(layer).__name__} does not tell its cache of its keys")


@torch.no_grad()
def run(model: PreTrainedModel, token_ids: Sequence[int], prefill: Prefill) -> torch.Tensor:
    """Computes these tokens as the prefill has them. Returns the logits `[vocabulary]` behind the last one.

    Raises UnsupportedModel where this model's layers cannot be hooked into; the prefill is then part-done.
    """
    cache = _PrefillCache(model.config.get_text_config(decoder=True), prefill)
    with _Hooks(prefill, cache).on(layers_of(model)), CausalBlocks(lambda: prefill.columns):
        output = model(
            input_ids=torch.tensor([list(token_ids)], device=model.device),
            position_ids=prefill.positions[None],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
    logits: torch.Tensor = output.logits[0, -1]
    return logits


def fuse(model: PreTrainedModel, token_ids: Sequence[int], fusion: Fusion) -> torch.Tensor:
    """As `run`, for a prompt's tokens of which the first are in the fusion's KV."""
    return run(model, token_ids[fusion.start :], fusion)


def compute_runs(model: PreTrainedModel, spec: KVSpec, runs: Sequence[Sequence[int]]) -> list[KVArray]:
    """Each run's KV, as if it were a prompt, all in one forward pass. Raises UnsupportedModel as `run`."""
    packing = Packing(spec, [len(tokens) for tokens in runs], model.device)
    run(model, [token for tokens in runs for token in tokens], packing)
    return packing.runs()


def require_fusing(model: PreTrainedModel, spec: KVSpec) -> None:
    """Raises UnsupportedModel unless a prompt that reuses its own KV for half of its tokens comes out as it was."""
    kind = getattr(model.config, "_attn_implementation", None)
    if kind != _ATTENTION:
        raise UnsupportedModel(f"attention {kind!r} cannot be blended: load the model with {_ATTENTION!r}")
    token_ids = list(range(1, 1 + _TRIED_TOKENS))
    input_ids, cache = torch.tensor([token_ids], device=model.device), DynamicCache()
    with torch.no_grad():
        exact = model(input_ids=input_ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[0, -1]
    into = torch.arange(_TRIED_TOKENS, device=model.device)
    into[-1] = -1
    fusion = Fusion(kv_of(spec, cache), 0, into, AtRandom(), Shares(0.5, 0.5))
    logits = fuse(model, token_ids, fusion)
    same = torch.allclose(logits.float(), exact.float(), atol=_CLOSE * float(exact.abs().max()), rtol=0)
    if not same or len(fusion.rows) == _TRIED_TOKENS:
        raise UnsupportedModel(f"{type(model).__name__} computes something else when tokens are left out of its layers")


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """Raises UnsupportedModel where there is no list of them."""
    layers = getattr(model.get_decoder(), "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise UnsupportedModel(f"{type(model).__name__} has no list of layers to hook into")
    return layers
