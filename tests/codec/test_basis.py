"""Bases make components uncorrelated and errors equally bad; bands apply them block by block."""

import numpy as np
import pytest
import torch

from codec.band import BLOCKS, bands_of, block_dims, part_dims
from codec.basis import fit_basis
from codec.moments import Moments
from tests.codec.calibrated import profile_for
from tests.kv import SPEC


def seen(part_dims, num_tokens, seed=1):
    """Correlated numbers `[token, channel]` and gradients of the parts; their moments."""
    random = torch.Generator().manual_seed(seed)
    channels = sum(part_dims)
    x = torch.randn(num_tokens, channels, generator=random) @ torch.randn(channels, channels, generator=random) + 3
    gradients = [
        torch.randn(num_tokens, dim, generator=random) @ torch.randn(dim, dim, generator=random) for dim in part_dims
    ]
    moments = Moments(part_dims)
    for rows in torch.arange(num_tokens).split(num_tokens // 4):
        moments.add(x[rows], [part[rows] for part in gradients])
    return x, gradients, moments


@pytest.mark.parametrize("part_dims", [(6,), (4, 2, 3)])
def test_components_are_uncorrelated_and_errors_equally_bad(part_dims):
    x, _, moments = seen(part_dims, 4000)
    basis = fit_basis(moments.mean, moments.covariance, moments.sensitivities, shrinkage=1e-3)
    z = (x.numpy() - basis.mean) @ basis.analysis
    atol = 2e-2 * basis.deviations[0] ** 2
    np.testing.assert_allclose(np.cov(z.T, bias=True), np.diag(basis.deviations**2), atol=atol)
    cost = basis.synthesis @ torch.block_diag(*moments.sensitivities).numpy() @ basis.synthesis.T
    np.testing.assert_allclose(cost, np.eye(sum(part_dims)), atol=5e-2)


def test_moments_are_those_of_all_tokens_that_were_counted_in():
    x, _, moments = seen((3, 2), 400)
    np.testing.assert_allclose(moments.mean, x.double().mean(dim=0), rtol=1e-6)
    np.testing.assert_allclose(moments.covariance, torch.cov(x.double().T, correction=0), rtol=1e-4, atol=1e-6)


def test_twice_the_texts_are_no_twice_the_sensitivity():
    x, gradients, moments = seen((3, 2), 4000)
    once = moments.sensitivities
    moments.add(x, gradients)
    for part, again in zip(once, moments.sensitivities, strict=True):
        torch.testing.assert_close(part, again, rtol=0.05, atol=0.01)


def test_one_token_that_everything_depends_on_does_not_outweigh_all_others():
    gradients = torch.ones(1000, 3)
    gradients[7] *= 1e3
    moments = Moments([3])
    moments.add(torch.zeros(1000, 3), [gradients])
    (sensitivity,) = moments.sensitivities
    plain = (gradients.T @ gradients / 1000)[0, 0]
    rest = Moments([3])
    rest.add(torch.zeros(999, 3), [torch.ones(999, 3)])
    assert sensitivity[0, 0] / rest.sensitivities[0][0, 0] < plain


def test_a_layer_nothing_depends_on_has_a_basis():
    moments = Moments([3, 2])
    moments.add(torch.randn(20, 5), [torch.zeros(20, 3), torch.zeros(20, 2)])
    basis = fit_basis(moments.mean, moments.covariance, moments.sensitivities, shrinkage=0.3)
    assert np.isfinite(basis.analysis).all()


@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.7, 1.0])
def test_channels_are_the_product_with_the_whole_matrix(blocks, kept):
    """Whichever components are zero, and whether a token's multiples are small eighths or not."""
    band, random = profile_for(SPEC, blocks).bands[0], np.random.default_rng(2)
    columns = np.flatnonzero(random.random(len(band.deviations)) < kept)
    multiples = random.standard_normal((7, len(columns))).astype(np.float32)
    multiples[::2] = np.rint(8 * multiples[::2]) / 8
    multiples[4, :1] = 5000
    steps = random.random(7).astype(np.float32)
    whole = np.zeros((7, len(band.deviations)))
    whole[:, columns] = multiples * steps[:, None]
    matrix = torch.block_diag(*(torch.from_numpy(basis.synthesis).double() for basis in band.bases)).numpy()
    mean = np.concatenate([basis.mean for basis in band.bases])
    x = band.channels(columns, multiples, steps)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, whole @ matrix + mean, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("blocks", BLOCKS)
def test_components_come_back_as_channels(blocks):
    band = profile_for(SPEC, blocks).bands[0]
    x = np.random.default_rng(3).standard_normal((5, len(band.deviations))).astype(np.float32)
    back = band.channels(np.arange(x.shape[1]), band.components(x), np.ones(len(x), np.float32))
    np.testing.assert_allclose(back, x, atol=1e-3)


@pytest.mark.parametrize("blocks", BLOCKS)
def test_gradients_follow_the_chain_rule(blocks):
    """The loss g·x of a token, seen from its components, has the slope that `gradients` gives."""
    band, random = profile_for(SPEC, blocks).bands[0], np.random.default_rng(4)
    x, along = random.standard_normal((2, 5, len(band.deviations))).astype(np.float32)
    z, slope = band.components(x), band.gradients(along)
    columns, steps = np.arange(z.shape[1]), np.ones(len(z), np.float32)
    moved = band.channels(columns, z + slope, steps) - band.channels(columns, z, steps)
    gained = (moved * along).sum(axis=1)
    np.testing.assert_allclose(gained, (slope**2).sum(axis=1), rtol=1e-2)


def test_bands_take_all_layers_the_last_as_many_as_are_left():
    assert bands_of(7, 3) == [(0, 3), (3, 6), (6, 7)]
    assert bands_of(2, 50) == [(0, 2)]


@pytest.mark.parametrize(("blocks", "dims"), [("band", [36]), ("part", [16, 8, 6, 6]), ("head", [8, 8, 4, 4, 6, 6])])
def test_blocks_span_what_they_are_named_for(blocks, dims):
    assert part_dims(SPEC, 0, 2) == [16, 8, 6, 6]
    assert list(block_dims(SPEC, 0, 2, blocks)) == dims


def test_strongest_components_come_first():
    deviations = profile_for(SPEC).bands[0].deviations
    assert (np.diff(deviations) <= 0).all()
