"""Blending in `generate`: what a wrapped model does with a prompt whose segments are held."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from blend import SELECTORS, Deviation, Fusion, Layout, Library, Selector, Shares
from blend.gate import DEFAULT_BOUND, Verdict
from codec import Codec, KVSpec
from connectors.codec_choice import gate_path
from connectors.hf.fusing import compute_runs, fuse, require_fusing
from connectors.hf.moving import require_movable
from connectors.hf.prefix import Prefix, empty_buffers, no_prefix, row_array
from connectors.hf.request import Request
from connectors.hf.spot_checks import SpotChecks
from kvstore import Identity, InvalidRequest, KVStore, PrefixMatch

_log = logging.getLogger(__name__)
_PACKED_TOKENS = 1024  # of several segments, computed in one forward pass
DEFAULT_SELECTOR = Deviation


def sink_of(tokenizer: Any) -> tuple[int, ...]:
    """What stands before a segment while it is computed, unless somebody says otherwise: the token texts begin with."""
    return () if tokenizer.bos_token_id is None else (tokenizer.bos_token_id,)


@dataclass(frozen=True)
class Blending:
    """How prompts are blended."""

    shares: Shares
    selector: Selector = field(default_factory=DEFAULT_SELECTOR)
    behind: tuple[int, ...] = ()
    """Token ids that stand before a segment while it is computed."""
    bound: float = DEFAULT_BOUND
    """Of the mean KL in nats: beyond it, blending ends."""
    checked: float = 0.02
    """Share of blended prompts that are computed in full as well, beside the engine."""


def passed_gate(directory: Path | None, spec: KVSpec, codec: Codec) -> Blending | None:
    """How the gate lets this model be blended in this codec; None where it has not said so."""
    if directory is None or not (path := gate_path(directory, spec)).exists():
        return None
    try:
        verdict = Verdict.load(path)
    except (OSError, InvalidRequest) as error:
        _log.warning("prompts are not blended: %s", error)
        return None
    passed = verdict.passed
    same = (verdict.spec, verdict.codec) == (spec.fingerprint(), codec.identity())
    if passed is None or not same or verdict.selector not in SELECTORS:
        _log.warning("prompts are not blended: %s is of another model, codec or selector, or did not pass", path)
        return None
    selector = SELECTORS[verdict.selector]()
    return Blending(Shares(passed.share, passed.share), selector, verdict.behind, verdict.bound)


class Blender:
    """One model's segments in a store.

    Raises UnsupportedModel when its layers cannot be hooked into, UnsupportedRotary when its keys cannot be moved.
    """

    def __init__(self, model: PreTrainedModel, store: KVStore, identity: Identity, blending: Blending) -> None:
        require_movable(model, identity.spec)
        require_fusing(model, identity.spec)
        self.identity = identity
        self._model, self._store, self._spec, self._blending = model, store, identity.spec, blending
        self._library = Library(store, identity, blending.behind)
        self.checks = SpotChecks(model, store.metrics, blending.bound, blending.checked)

    def load(self, request: Request, layout: Layout, match: PrefixMatch) -> Prefix | None:
        """A cache for this request, of one prompt, with all but its last token in place; None when no segment is held,
        or answers were found to be beyond the bound.

        The exact prefix comes first; segments behind it are fused with what is computed.
        """
        found = self._library.find(layout, start=match.num_tokens)
        if not found or not self.checks.within:
            return None
        (row,) = request.rows
        buffers = empty_buffers(self._spec, request, self._model.device)
        kv = row_array(self._spec, buffers, 0, row.pad, len(row.token_ids))
        exact = min(self._store.load_into(match, kv) if match.keys else 0, len(row.token_ids) - 1)
        into_segment = self._library.load(found, kv)
        into_segment[-1] = -1  # computed, whatever it is: the answer's first token comes of it
        fusion = Fusion(kv, exact, into_segment[exact:], self._blending.selector, self._blending.shares)
        fuse(self._model, row.token_ids, fusion)
        prefix = no_prefix(self._model, request)
        prefix.cache.restore(buffers, request.num_columns - 1)
        self._store.metrics.count("requests_blended")
        self._store.metrics.count("tokens_blended", int((into_segment >= 0).sum()))
        return Prefix(prefix.cache, (exact,), exact=False)

    def warm(self, segments: Iterable[Sequence[int]]) -> Iterator[int]:
        """Computes and saves those of the segments that are not held; yields each one's number as it has been seen.

        Segments are token ids, cut as in a prompt. Several short ones are computed in one forward pass, the last of
        them when the iterator ends.
        """
        pack: list[Sequence[int]] = []
        for number, segment in enumerate(segments):
            layout = Layout(tuple(segment), ((0, len(segment)),))
            pack += [layout.tokens(run) for run in self._library.missing(layout)]
            if sum(map(len, pack)) >= _PACKED_TOKENS:
                self._save(pack)
                pack = []
            yield number
        self._save(pack)

    def _save(self, pack: Sequence[Sequence[int]]) -> None:
        behind = self._blending.behind
        runs = [[*behind, *segment] for segment in pack]
        for segment, kv in zip(pack, compute_runs(self._model, self._spec, runs) if runs else (), strict=True):
            self._library.save(segment, kv.tokens(len(behind), kv.num_tokens))
