"""Profiles for tests: fitted to random numbers, since no test of the format needs a model."""

import functools
from dataclasses import replace

import numpy as np
import torch

from codec import KVSpec, Profile, register
from codec.basis import fit_basis
from codec.column_tables import expectations, histograms
from codec.moments import Moments
from codec.table_fit import fit_column_tables
from codec.transform import symbols_of

STEP, SINKS, DEAD_ZONE = 0.5, 2, 0.125
TURNING = {"rope_type": "default", "rope_theta": 10000.0}


def movable(spec):
    """The spec with rotary embeddings that can be taken off."""
    groups = tuple(replace(group, rotary={} if group.key_dim % 2 else TURNING) for group in spec.groups)
    return replace(spec, groups=groups)


def profile_for(spec):
    """A registered profile for that spec; the same for the same spec."""
    return _profile(spec.to_json())


@functools.lru_cache(maxsize=16)
def _profile(spec_json):
    spec = KVSpec.from_json(spec_json)
    generator = torch.Generator().manual_seed(5)
    keys = tuple(_basis(group.kv_heads * group.key_dim, generator) for group in spec.group_of)
    values = tuple(_basis(group.kv_heads * group.value_dim, generator) for group in spec.group_of)
    return register(Profile(spec, keys, values, _tables(), {"balanced": STEP, "high": STEP / 4}, SINKS, DEAD_ZONE))


def _basis(dim, generator):
    moments = Moments.zero(dim)
    mixing = torch.randn(dim, dim, generator=generator)
    numbers = torch.randn(64, dim, generator=generator) @ mixing + 4 * torch.randn(dim, generator=generator)
    moments.add(numbers, torch.randn(64, dim, generator=generator))
    return fit_basis(moments, shrinkage=0.3)


@functools.cache
def _tables():
    random = np.random.default_rng(6)
    deviations = 2.0 ** random.uniform(-6, 5, 400).astype(np.float32)
    symbols = symbols_of(random.standard_normal((128, 400)).astype(np.float32) * deviations, DEAD_ZONE)
    return fit_column_tables(histograms(symbols), expectations(deviations, 1.0), num_tables=8)
