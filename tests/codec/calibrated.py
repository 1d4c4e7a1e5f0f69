"""Profiles for tests: fitted to random numbers, since no test of the format needs a model.

Two layers make a band, so that bands have several layers and the last one fewer; the emphases are bold, so
that tokens of every class occur.
"""

import functools
from dataclasses import replace

import numpy as np
import torch

from codec import KVSpec, Profile, register
from codec.band import Band, bands_of, block_dims
from codec.basis import fit_basis
from codec.column_codes import symbols_of
from codec.column_tables import expectations
from codec.emphasis import CLASSES, Emphasis, EmphasisFit, step_factors
from codec.moments import Moments
from codec.table_fit import SeenColumns, fit_column_tables

LAYERS_TOGETHER, SINKS = 2, 2
STEP = 0.5
LEVELS = {"high": STEP / 4, "balanced": STEP, "small": 2 * STEP}
TURNING = {"rope_type": "default", "rope_theta": 10000.0}


def movable(spec):
    """The spec with rotary embeddings that can be taken off."""
    groups = tuple(replace(group, rotary={} if group.key_dim % 2 else TURNING) for group in spec.groups)
    return replace(spec, groups=groups)


def profile_for(spec, blocks="band", layers_together=LAYERS_TOGETHER):
    """A registered profile for that spec; the same for the same arguments."""
    return _profile(spec.to_json(), blocks, layers_together)


@functools.lru_cache(maxsize=16)
def _profile(spec_json, blocks, layers_together):
    spec = KVSpec.from_json(spec_json)
    random = torch.Generator().manual_seed(5)
    spans = bands_of(spec.num_layers, layers_together)
    bands = tuple(_band(first, end, block_dims(spec, first, end, blocks), random) for first, end in spans)
    return register(Profile(spec, bands, layers_together, blocks, fitted_tables(), LEVELS, SINKS))


def _band(first, end, dims, random):
    blocks = [_basis(dim, random) for dim in dims]
    band = Band(first, end, tuple(basis for basis, _ in blocks), EmphasisFit(0).fitted())
    return replace(band, emphasis=_bold(band, torch.cat([x for _, x in blocks], dim=1).numpy()))


def _basis(dim, random):
    mixing = torch.randn(dim, dim, generator=random)
    x = torch.randn(256, dim, generator=random) @ mixing + 4 * torch.randn(dim, generator=random)
    moments = Moments([dim])
    moments.add(x, [torch.randn(256, dim, generator=random)])
    return fit_basis(moments.mean, moments.covariance, moments.sensitivities, shrinkage=0.3), x


def _bold(band, x):
    """An emphasis that follows the strongest component, as far as ten octaves of sensitivity make it."""
    z, fit = band.components(x), EmphasisFit(len(band.deviations))
    fit.add(z, band.deviations, np.exp2(10 * z[:, 0] / band.deviations[0]))
    return Emphasis(3 * fit.fitted().weights)


@functools.cache
def fitted_tables():
    """Tables fitted to Gaussians of all widths, in tokens of all classes."""
    random = np.random.default_rng(6)
    deviations = 2.0 ** random.uniform(-6, 5, 400).astype(np.float32)
    classes = random.integers(0, CLASSES, 128).astype(np.uint8)
    z = random.standard_normal((128, 400)).astype(np.float32) * deviations
    symbols = symbols_of(z / step_factors(classes))
    return fit_column_tables([SeenColumns(symbols, classes, expectations(deviations, 1.0))])
