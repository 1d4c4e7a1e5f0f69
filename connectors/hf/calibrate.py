"""Calibration: a few dozen texts through a model, a profile for the `transform` codec out.

In passes, so that no KV is ever held. The first sums up moments of all keys and values and of the gradients
with respect to them, which gives the bases. The second, over half of the texts, asks how much depends on
each token, which gives the emphases. The third, over a third of them, counts how often which multiple of
the step stands in which component, at a few steps, which gives the tables. Then texts that were in none
show what each step costs in bits and in KL, and the levels are the steps that meet their KL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from transformers import PreTrainedModel

from codec import KVSpec, Profile, Rotary, Transform, register
from codec.band import Band, bands_of, block_dims, part_dims
from codec.basis import block_diagonal, fit_basis
from codec.codable import rows_of
from codec.column_codes import symbols_of
from codec.column_tables import ColumnTables, expectations
from codec.emphasis import EmphasisFit, step_factors
from codec.moments import Moments
from codec.steps import step_at_loss, step_at_rate
from codec.table_fit import SeenColumns, fit_column_tables
from connectors.hf import ttft
from connectors.hf.gradients import LayerGradients, gradients_of
from connectors.hf.moving import require_movable
from connectors.hf.scoring import cache_of, distortion, kv_of, logits_behind, through_frames
from connectors.hf.spec import spec_of

LEVEL_KL = {"high": 0.003, "balanced": 0.01, "small": 0.04}
_MARGIN = 0.4  # of a level's KL is what the worst of the held-out texts may lose: others lose twice as much
_SINKS = 1  # four cost 0.04 bits per number of a 1,024-token context more, for the same KL
_SHRINKAGE = 0.03
_NUM_FEATURES = 96
_RATES = (1.3, 0.7, 0.4, 0.2)  # bits per number, as if all were Gaussian: from below `high` to beyond `small`
_CHUNK_TOKENS = 128
_CONTEXT_SHARE = 0.75
_MOST_CHANNELS = 1152  # of a band: a transform costs channels² per token, three layers of a small model's
_EMPHASIS_TEXTS, _TABLE_TEXTS = 2, 3  # one text in so many

Step = Callable[[str], None]


@dataclass(frozen=True)
class RatePoint:
    """What a step costs on held-out texts: bits per number, every byte of the frames counted, KL in nats."""

    step: float
    bits: float
    kl: float
    kl_worst_text: float
    top1: float


@dataclass(frozen=True)
class Shape:
    """How layers are put together: so many in a band (None: as many as stay cheap), and what a basis spans."""

    layers_together: int | None = None
    blocks: str = "band"


def num_steps(num_texts: int, num_held_out: int) -> int:
    """How often `calibrate` reports progress."""
    parts = num_texts, -(-num_texts // _EMPHASIS_TEXTS), -(-num_texts // _TABLE_TEXTS)
    return sum(parts) + len(_RATES) * num_held_out


def calibrate(
    model: PreTrainedModel,
    texts: Sequence[torch.Tensor],
    held_out: Sequence[torch.Tensor],
    progress: Step,
    shape: Shape = Shape(),
) -> tuple[Profile, list[RatePoint]]:
    """The profile fitted to `texts`, and its curve on `held_out`; both are token ids `[1, token]`.

    Raises UnsupportedRotary when the model turns its keys in a way that cannot be undone here.
    """
    model.requires_grad_(False)
    spec = spec_of(model)
    require_movable(model, spec)
    together = shape.layers_together or _layers_together(spec)
    bands = _fit_bands(model, spec, together, shape.blocks, texts, progress)
    bands = _fit_emphases(model, spec, bands, texts[::_EMPHASIS_TEXTS], progress)
    deviations = np.concatenate([band.deviations for band in bands])
    steps = [step_at_rate(deviations, bits) for bits in _RATES]
    tables = _fit_tables(model, spec, bands, steps, texts[::_TABLE_TEXTS], progress)
    profile = Profile(spec, tuple(bands), together, shape.blocks, tables, {}, _SINKS)
    curve = [_measure(model, profile, step, held_out, progress) for step in steps]
    levels = {
        name: step_at_loss(steps, [point.kl_worst_text for point in curve], _MARGIN * kl)
        for name, kl in LEVEL_KL.items()
    }
    return replace(profile, levels=levels), curve


def _layers_together(spec: KVSpec) -> int:
    widest = max(sum(part_dims(spec, layer, layer + 1)) for layer in range(spec.num_layers))
    return max(1, _MOST_CHANNELS // widest)


def _fit_bands(
    model: PreTrainedModel, spec: KVSpec, together: int, blocks: str, texts: Sequence[torch.Tensor], progress: Step
) -> list[Band]:
    layers = bands_of(spec.num_layers, together)
    moments = [Moments(part_dims(spec, first, end)) for first, end in layers]
    for token_ids in texts:
        for (x, gradients), sums in zip(_seen_by_band(model, spec, layers, token_ids), moments, strict=True):
            sums.add(x, gradients)
        progress("moments and gradients")
    return [_band(spec, *span, blocks, sums) for span, sums in zip(layers, moments, strict=True)]


def _band(spec: KVSpec, first: int, end: int, blocks: str, moments: Moments) -> Band:
    """Without emphasis yet."""
    mean, covariance, dims = moments.mean, moments.covariance, block_dims(spec, first, end, blocks)
    bases, start = [], 0
    for dim, sensitivities in zip(dims, _sensitivities(moments.sensitivities, dims), strict=True):
        channels = slice(start, start + dim)
        start += dim
        bases.append(fit_basis(mean[channels], covariance[channels, channels], sensitivities, _SHRINKAGE))
    return Band(first, end, tuple(bases), EmphasisFit(0).fitted())


def _sensitivities(parts: Sequence[torch.Tensor], dims: Sequence[int]) -> Sequence[Sequence[torch.Tensor]]:
    """Of each block: all the parts when there is but one, else the piece of a part that it is."""
    if len(dims) == 1:
        return [parts]
    whole, pieces, start = block_diagonal(parts), [], 0
    for dim in dims:
        pieces.append([whole[start : start + dim, start : start + dim]])
        start += dim
    return pieces


def _seen_by_band(
    model: PreTrainedModel, spec: KVSpec, layers: Sequence[tuple[int, int]], token_ids: torch.Tensor
) -> Iterator[tuple[torch.Tensor, list[torch.Tensor]]]:
    """Per band the context's channels `[token, channel]`, keys unturned, and the gradients of its parts.

    Sinks are left out: they are stored exactly, and unlike anything else.
    """
    rotary = [Rotary.of(group) for group in spec.group_of]
    seen = gradients_of(model, token_ids, int(_CONTEXT_SHARE * token_ids.shape[1]))
    for first, end in layers:
        x, gradients = [], []
        for layer in range(first, end):
            parts = _unturned(next(seen), rotary[layer])
            x += [_rows(parts.keys)[_SINKS:], _rows(parts.values)[_SINKS:]]
            gradients += [_rows(parts.key_gradients)[_SINKS:], _rows(parts.value_gradients)[_SINKS:]]
        yield torch.cat(x, dim=1), gradients


def _unturned(seen: LayerGradients, rotary: Rotary) -> LayerGradients:
    """Turning is orthogonal, so gradients turn back as keys do; yarn's scale multiplies them instead."""
    gradients = replace(rotary, scaling=1 / rotary.scaling).take_off(seen.key_gradients, 0)
    return replace(seen, keys=rotary.take_off(seen.keys, 0), key_gradients=gradients)


def _fit_emphases(
    model: PreTrainedModel, spec: KVSpec, bands: Sequence[Band], texts: Sequence[torch.Tensor], progress: Step
) -> list[Band]:
    layers = [(band.first, band.end) for band in bands]
    fits = [EmphasisFit(min(_NUM_FEATURES, len(band.deviations))) for band in bands]
    for token_ids in texts:
        for (x, gradients), band, fit in zip(_seen_by_band(model, spec, layers, token_ids), bands, fits, strict=True):
            along = band.gradients(torch.cat(gradients, dim=1).float().cpu().numpy())
            fit.add(band.components(x.float().cpu().numpy()), band.deviations, np.square(along).sum(axis=1))
        progress("how much depends on each token")
    return [replace(band, emphasis=fit.fitted()) for band, fit in zip(bands, fits, strict=True)]


def _fit_tables(
    model: PreTrainedModel,
    spec: KVSpec,
    bands: Sequence[Band],
    steps: Sequence[float],
    texts: Sequence[torch.Tensor],
    progress: Step,
) -> ColumnTables:
    """From one chunk of every text, at two of the steps in turn."""
    seen, rotary = [], [Rotary.of(group) for group in spec.group_of]
    for number, token_ids in enumerate(texts):
        start = min(_CHUNK_TOKENS, token_ids.shape[1] // 2)
        end = min(start + _CHUNK_TOKENS, token_ids.shape[1])
        kv = kv_of(spec, ttft.computed_context(model, token_ids)).tokens(start, end)
        for band in bands:
            z = band.components(np.hstack([rows_of(Transform.id, part) for part in band.unturned(kv, rotary, start)]))
            classes = band.emphasis.of(z, band.deviations)
            z /= step_factors(classes)
            for step in steps[number % 2 :: 2]:
                symbols = symbols_of(z / np.float32(step))
                seen.append(SeenColumns(symbols, classes, expectations(band.deviations, step)))
        progress("probability tables")
    return fit_column_tables(seen)


def _measure(
    model: PreTrainedModel, profile: Profile, step: float, held_out: Sequence[torch.Tensor], progress: Step
) -> RatePoint:
    codec, spec = Transform(profile, step), profile.spec
    register(profile)
    bits, kl, top1 = [], [], []
    for token_ids in held_out:
        known = int(_CONTEXT_SHARE * token_ids.shape[1])
        computed = ttft.computed_context(model, token_ids[:, :known])
        kv = kv_of(spec, computed)
        num_bytes, decoded = through_frames(codec, kv, _CHUNK_TOKENS)
        behind = token_ids[:, known:-1]
        exact = logits_behind(model, behind, computed)
        lossy = logits_behind(model, behind, cache_of(model, decoded))
        distance = distortion(exact, lossy, token_ids[0, known + 1 :])
        bits.append(8 * num_bytes / sum(part.numel() for part in (*kv.keys, *kv.values)))
        kl.append(distance.kl)
        top1.append(distance.top1)
        progress(f"held-out texts, step {step:.2g}")
    return RatePoint(step, float(np.mean(bits)), float(np.mean(kl)), max(kl), float(np.mean(top1)))


def _rows(tensor: torch.Tensor) -> torch.Tensor:
    """`[token, channel]` of `[kv_head, token, dim]`."""
    return tensor.transpose(0, 1).flatten(1)
