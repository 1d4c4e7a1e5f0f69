"""Blending in `generate`: what a wrapped model does with a prompt whose segments are held."""

from __future__ import annotations

import copy
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from blend import SELECTORS, Deviation, Found, Fusion, Layout, Library, Selector, Shares
from blend.gate import DEFAULT_BOUND, Verdict
from codec import Codec, KVSpec
from connectors.codec_choice import gate_path
from connectors.hf.fusing import compute_runs, fuse, require_fusing
from connectors.hf.moving import require_movable
from connectors.hf.prefix import Prefix, empty_buffers, no_prefix, row_array
from connectors.hf.request import Request
from connectors.hf.spot_checks import SpotChecks
from connectors.niceness import go_last
from kvstore import Background, Identity, InvalidRequest, KVStore, PrefixMatch

_log = logging.getLogger(__name__)
_PACKED_TOKENS = 1024  # of several segments, computed in one forward pass
_LEAST_REUSED = 0.25  # of what is left to compute: less saves no time, and makes the prompt's KV inexact
_MOST_BESIDE = 8  # tasks beside the engine
DEFAULT_SELECTOR = Deviation


def sink_of(tokenizer: Any) -> tuple[int, ...]:
    """What stands before a segment while it is computed, unless somebody says otherwise: the token texts begin with."""
    return () if tokenizer.bos_token_id is None else (tokenizer.bos_token_id,)


@dataclass(frozen=True)
class Blending:
    """How prompts are blended."""

    share: float
    """Of the reused tokens: how many are recomputed at least, on average over the layers."""
    most: float = 1.0
    """And at most, where loading takes so long that more of them cost nothing."""
    selector: Selector = field(default_factory=DEFAULT_SELECTOR)
    behind: tuple[int, ...] = ()
    """Token ids that stand before a segment while it is computed."""
    bound: float = DEFAULT_BOUND
    """Of the mean KL in nats: beyond it, blending ends."""
    checked: float = 0.02
    """Share of blended prompts that are computed in full as well, beside the engine."""
    learns: bool = True
    """Whether marked segments that are not held are computed, beside the engine, for the next prompt that has them."""


def passed_gate(directory: Path | None, spec: KVSpec, codec: Codec, device: torch.device) -> Blending | None:
    """How the gate lets this model be blended in this codec on this kind of device; None where it has not said so."""
    if directory is None or not (path := gate_path(directory, spec)).exists():
        return None
    try:
        verdict = Verdict.load(path)
    except (OSError, InvalidRequest) as error:
        _log.warning("prompts are not blended: %s", error)
        return None
    passed = verdict.passed
    same = (verdict.spec, verdict.codec, verdict.device) == (spec.fingerprint(), codec.identity(), device.type)
    if passed is None or not same or verdict.selector not in SELECTORS:
        _log.warning(
            "prompts are not blended: %s is of another model, codec, device or selector, or did not pass", path
        )
        return None
    if not passed.pays:
        _log.warning("prompts are not blended: by %s that is %.2f times as fast as computing", path, passed.sooner)
        return None
    most = max(point.share for point in verdict.measured)
    return Blending(passed.share, most, SELECTORS[verdict.selector](), verdict.behind, verdict.bound)


class Blender:
    """One model's segments in a store.

    Raises UnsupportedModel when its layers cannot be hooked into, UnsupportedRotary when its keys cannot be moved.
    """

    def __init__(self, model: PreTrainedModel, store: KVStore, identity: Identity, blending: Blending) -> None:
        require_fusing(model, identity.spec)
        require_movable(model, identity.spec)
        self.identity = identity
        self._model, self._store, self._spec, self._blending = model, store, identity.spec, blending
        self._library = Library(store, identity, blending.behind)
        self.beside = Background(threads=1, most=_MOST_BESIDE, begin=go_last)
        self.checks = SpotChecks(model, store.metrics, self.beside, blending.bound, blending.checked)

    def in_way(self, blending: Blending) -> Blender:
        """The same model's segments blended in another way: not tried anew, checked and closed with this one."""
        other = copy.copy(self)
        other._blending, other._library = blending, Library(self._store, self.identity, blending.behind)
        return other

    def load(self, request: Request, layout: Layout, match: PrefixMatch) -> Prefix | None:
        """A cache for this request, of one prompt, with all but its last token in place; None when too few tokens are
        held, computing is expected to be sooner than loading them, or answers were found to be beyond the bound.

        The exact prefix comes first; segments behind it are fused with what is computed, while they are loaded.
        """
        found, (row,) = self._library.find(layout, start=match.num_tokens), request.rows
        share = self._share(found, len(row.token_ids), match.num_tokens)
        if share is None or not self.checks.within:
            return None
        buffers = empty_buffers(self._spec, request, self._model.device)
        kv = row_array(self._spec, buffers, 0, row.pad, len(row.token_ids))
        exact = min(self._store.load_into(match, kv) if match.keys else 0, len(row.token_ids) - 1)
        arriving, into_segment = self._library.begin(found, kv)
        into_segment[-1] = -1  # computed, whatever it is: the answer's first token comes of it
        shares = Shares.averaging(share)
        with arriving:
            fusion = Fusion(kv, exact, into_segment[exact:], self._blending.selector, shares, arriving.wait)
            fuse(self._model, row.token_ids, fusion)
        prefix = no_prefix(self._model, request)
        prefix.cache.restore(buffers, request.num_columns - 1)
        self._store.metrics.count("requests_blended")
        reused = int((into_segment >= 0).sum())
        self._store.metrics.count("tokens_blended", reused)
        return Prefix(prefix.cache, (exact,), exact=False, reused=reused)

    def _share(self, found: Sequence[Found], num_tokens: int, context: int) -> float | None:
        """How much of what was found to recompute; None when it is too little, or too slow to load, to be used."""
        if sum(segment.end - segment.start for segment in found) < _LEAST_REUSED * (num_tokens - context):
            return None
        model, bounds = self._spec.fingerprint(), (self._blending.share, self._blending.most)
        return self._store.cost.share_to_recompute(model, self._library.loading_s(found), num_tokens, context, bounds)

    def learn(self, layout: Layout, pace: Callable[[], object]) -> None:
        """Has the prompt's segments that are not held computed and saved, beside the engine: returns at once.

        `pace` is called before each of the model's passes, and may wait.
        """
        if self._blending.learns and self.checks.within:
            segments = map(layout.tokens, layout.segments)
            self.beside.submit(partial(deque, self.warm(segments, pace), maxlen=0))

    def close(self) -> None:
        """Waits for what is under way beside the engine."""
        self.beside.close()

    def warm(self, segments: Iterable[Sequence[int]], pace: Callable[[], object] = lambda: None) -> Iterator[int]:
        """Computes and saves those of the segments that are not held; yields each one's number as it has been seen.

        Segments are token ids, cut as in a prompt. Several short ones are computed in one forward pass, the last of
        them when the iterator ends. `pace` is called before each pass, and may wait.
        """
        pack: list[Sequence[int]] = []
        for number, segment in enumerate(segments):
            layout = Layout(tuple(segment), ((0, len(segment)),))
            for run in self._library.missing(layout):
                pack.append(layout.tokens(run))
                if sum(map(len, pack)) >= _PACKED_TOKENS:
                    self._save(pack, pace)
                    pack = []
            yield number
        if pack:
            self._save(pack, pace)

    def _save(self, pack: Sequence[Sequence[int]], pace: Callable[[], object]) -> None:
        pace()
        behind = self._blending.behind
        runs = compute_runs(self._model, self._spec, [[*behind, *segment] for segment in pack])
        for segment, kv in zip(pack, runs, strict=True):
            self._library.save(segment, kv.tokens(len(behind), kv.num_tokens))
