"""Calibration: a few dozen texts through a model, a profile for the `transform` codec out.

Two passes, so that no KV is ever held. The first sums up moments of every layer's keys and values and of
the gradients with respect to them, which gives the bases. The second counts how often which multiple of
the step stands in which component, at a few steps, which gives the tables. Then texts that were in
neither show what each step costs in bits and in KL, and the levels are the steps that meet their KL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from transformers import PreTrainedModel

from codec import (
    KVSpec,
    Profile,
    Rotary,
    Transform,
    UnsupportedRotary,
    register,
)
from codec.basis import Basis, fit_basis
from codec.column_tables import ColumnTables, expectations, histograms
from codec.moments import Moments
from codec.steps import step_at_loss, step_at_rate
from codec.table_fit import fit_column_tables
from codec.transform import symbols_of
from connectors.hf import ttft
from connectors.hf.gradients import gradients_of
from connectors.hf.scoring import cache_of, distortion, kv_of, logits_behind, through_frames
from connectors.hf.spec import spec_of

LEVEL_KL = {"high": 0.003, "balanced": 0.01, "small": 0.04}
_MARGIN = 0.8  # of a level's KL is aimed at, since other texts differ
_SINKS = 1  # four cost 0.04 bits per number of a 1,024-token context more, for the same KL
_SHRINKAGE = 0.3
_DEAD_ZONE = 0.0  # rounding towards zero shrinks every token alike: a tenth of a step doubled the KL
_RATES = (2.8, 2.0, 1.4, 0.9)
_NUM_TABLES, _CHUNK_TOKENS = 40, 128
_CONTEXT_SHARE = 0.75
_MAX_COLUMNS = 400_000

Step = Callable[[str], None]
Bases = tuple[tuple[Basis, ...], tuple[Basis, ...]]


@dataclass(frozen=True)
class RatePoint:
    """What a step costs on held-out texts: bits per number, every byte of the frames counted, KL in nats."""

    step: float
    bits: float
    kl: float
    top1: float


def num_steps(num_texts: int, num_held_out: int) -> int:
    """How often `calibrate` reports progress."""
    return 2 * num_texts + len(_RATES) * num_held_out


def calibrate(
    model: PreTrainedModel, texts: Sequence[torch.Tensor], held_out: Sequence[torch.Tensor], progress: Step
) -> tuple[Profile, list[RatePoint]]:
    """The profile fitted to `texts`, and its curve on `held_out`; both are token ids `[1, token]`.

    Raises UnsupportedRotary when the model turns its keys in a way that cannot be undone here.
    """
    model.requires_grad_(False)
    spec = spec_of(model)
    require_movable(model, spec)
    bases = _fit_bases(model, spec, texts, progress)
    deviations = np.concatenate([basis.deviations for side in bases for basis in side])
    steps = [step_at_rate(deviations, bits) for bits in _RATES]
    tables = _fit_tables(model, spec, bases, steps, texts, progress)
    profile = Profile(spec, *bases, tables, {}, sinks=_SINKS, dead_zone=_DEAD_ZONE)
    curve = [_measure(model, profile, step, held_out, progress) for step in steps]
    levels = {name: step_at_loss(steps, [point.kl for point in curve], _MARGIN * kl) for name, kl in LEVEL_KL.items()}
    return replace(profile, levels=levels), curve


@torch.no_grad()
def require_movable(model: PreTrainedModel, spec: KVSpec) -> None:
    """Raises UnsupportedRotary unless the model's first keys at a later position are those moved there.

    A spec names the frequencies, not which channels turn together: interleaved layouts show here.
    """
    token_ids, later = torch.arange(8, device=model.device)[None], 37
    here = ttft.computed_context(model, token_ids).layers[0].keys[0].float()
    positions = torch.arange(later, later + token_ids.shape[1], device=model.device)[None]
    there = model(input_ids=token_ids, position_ids=positions, use_cache=True).past_key_values.layers[0].keys[0].float()
    moved = Rotary.of(spec.group_of[0]).move(here, 0, later)
    if (moved - there).abs().max() > 0.02 * there.abs().max():
        raise UnsupportedRotary(f"{spec.model} turns its keys in another layout than its parameters say")


def _fit_bases(model: PreTrainedModel, spec: KVSpec, texts: Sequence[torch.Tensor], progress: Step) -> Bases:
    rotary = [Rotary.of(group) for group in spec.group_of]
    keys = [Moments.zero(group.kv_heads * group.key_dim) for group in spec.group_of]
    values = [Moments.zero(group.kv_heads * group.value_dim) for group in spec.group_of]
    for token_ids in texts:
        for layer, seen in enumerate(gradients_of(model, token_ids, int(_CONTEXT_SHARE * token_ids.shape[1]))):
            turn = rotary[layer]
            # Turning is orthogonal, so gradients turn back as keys do; yarn's scale multiplies them instead.
            gradients = replace(turn, scaling=1 / turn.scaling).take_off(seen.key_gradients, 0)
            keys[layer].add(_rows(turn.take_off(seen.keys, 0)), _rows(gradients))
            values[layer].add(_rows(seen.values), _rows(seen.value_gradients))
        progress("moments and gradients")
    return tuple(fit_basis(each, _SHRINKAGE) for each in keys), tuple(fit_basis(each, _SHRINKAGE) for each in values)


def _fit_tables(
    model: PreTrainedModel,
    spec: KVSpec,
    bases: Bases,
    steps: Sequence[float],
    texts: Sequence[torch.Tensor],
    progress: Step,
) -> ColumnTables:
    """From one chunk of every text, at every step; of too many columns, a part that a fixed seed draws."""
    rotary = [Rotary.of(group) for group in spec.group_of]
    deviations = [np.concatenate([k.deviations, v.deviations]) for k, v in zip(*bases, strict=True)]
    columns_per_text = len(steps) * sum(len(each) for each in deviations)
    kept = min(1.0, _MAX_COLUMNS / (columns_per_text * len(texts)))
    random = np.random.default_rng(0)
    counts, expected = [], []
    for token_ids in texts:
        layers = ttft.computed_context(model, token_ids).layers
        start = min(_CHUNK_TOKENS, token_ids.shape[1] // 2)
        for layer, (keys, values) in enumerate(zip(*bases, strict=True)):
            chunk = slice(start, start + _CHUNK_TOKENS)
            unturned = rotary[layer].take_off(layers[layer].keys[0, :, chunk], start)
            z = np.hstack([_components(keys, unturned), _components(values, layers[layer].values[0, :, chunk])])
            for step in steps:
                drawn = np.flatnonzero(random.random(z.shape[1]) < kept)
                counts.append(histograms(symbols_of(z[:, drawn] / np.float32(step), _DEAD_ZONE)).astype(np.uint8))
                expected.append(expectations(deviations[layer][drawn], step))
        progress("probability tables")
    return fit_column_tables(np.concatenate(counts), np.concatenate(expected), _NUM_TABLES)


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
    return RatePoint(step, float(np.mean(bits)), float(np.mean(kl)), float(np.mean(top1)))


def _components(basis: Basis, tensor: torch.Tensor) -> np.ndarray:
    """Float32 `[token, component]` of `[kv_head, token, dim]`."""
    z: np.ndarray = (_rows(tensor).float().cpu().numpy() - basis.mean) @ basis.analysis
    return z


def _rows(tensor: torch.Tensor) -> torch.Tensor:
    """`[token, channel]` of `[kv_head, token, dim]`."""
    return tensor.transpose(0, 1).flatten(1)
