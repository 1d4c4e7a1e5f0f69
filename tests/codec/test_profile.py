"""Profiles: one checked file, named by its content; damage and strangers are refused."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from codec import (
    CorruptFrame,
    KVSpec,
    LayerGroup,
    Lossless,
    MissingProfile,
    Profile,
    SpecMismatch,
    UnsupportedRotary,
    encode_chunk,
)
from codec.basis import fit_basis
from codec.moments import Moments
from tests.codec.calibrated import profile_for
from tests.codec.forge import ForgedFrame, forged
from tests.kv import SPEC, kv_of_numbers

PROFILE = profile_for(SPEC)


def test_a_saved_profile_comes_back_with_its_fingerprint(tmp_path):
    PROFILE.save(tmp_path / "profile")
    back = Profile.load(tmp_path / "profile")
    assert back.fingerprint == PROFILE.fingerprint
    assert back.levels == PROFILE.levels
    assert (back.spec, back.sinks, back.dead_zone) == (SPEC, PROFILE.sinks, PROFILE.dead_zone)
    assert np.array_equal(back.keys[1].analysis, PROFILE.keys[1].analysis)
    assert [path.name for path in tmp_path.iterdir()] == ["profile"]


def test_other_tools_can_open_a_profile(tmp_path):
    PROFILE.save(tmp_path / "profile.safetensors")
    with safe_open(tmp_path / "profile.safetensors", "np") as opened:
        assert np.array_equal(opened.get_tensor("2.v.mean"), PROFILE.values[2].mean)


def test_a_profile_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(MissingProfile, match="kvstore calibrate"):
        Profile.load(tmp_path / "nothing")


@given(st.data())
def test_a_damaged_profile_is_refused(data):
    content = bytearray(PROFILE.content)
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CorruptFrame):
        Profile.from_content(content)


def test_a_table_without_axes_is_refused():
    frame = ForgedFrame.opened(PROFILE.content)
    (table,) = (section for section in frame.sections if section.name == "tables.frequencies")
    table.shape, table.content = [], table.content[:2]
    with pytest.raises(CorruptFrame, match="shapes"):
        Profile.from_content(frame.sealed())


def test_a_chunks_frame_is_no_profile():
    with pytest.raises(CorruptFrame, match="lossless"):
        Profile.from_content(encode_chunk(Lossless(), kv_of_numbers(SPEC, 3), "", 0))


@pytest.mark.parametrize(
    "settings",
    [
        "{}",
        '{"dead_zone":0.1,"levels":{},"sinks":-1}',
        '{"dead_zone":0.5,"levels":{},"sinks":1}',
        '{"dead_zone":NaN,"levels":{},"sinks":1}',
        '{"dead_zone":0.1,"levels":{"high":0.0},"sinks":1}',
        '{"dead_zone":0.1,"levels":[],"sinks":1}',
        '{"dead_zone":0.1,"levels":{"high":1e999},"sinks":1}',
    ],
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(CorruptFrame):
        Profile.from_content(
            forged(PROFILE.content, lambda entries: entries["__metadata__"].update(codec_params=settings))
        )


@pytest.mark.parametrize("name", ["0.k.mean", "2.v.directions", "tables.choices", "tables.frequencies"])
def test_every_section_is_needed_in_its_shape(name):
    def flatten(entries):
        entries[name]["shape"] = [1, int(np.prod(entries[name]["shape"]))]

    with pytest.raises(CorruptFrame):
        Profile.from_content(forged(PROFILE.content, flatten))


def test_another_models_layers_are_a_mismatch():
    with pytest.raises(SpecMismatch, match="tests/other"):
        PROFILE.require(KVSpec("tests/other", "r", "bfloat16", (SPEC.groups[0], LayerGroup((1,), 1, 6, 6))))


def test_keys_that_cannot_be_moved_have_no_profile():
    spec = KVSpec("m", "r", "bfloat16", (LayerGroup((0,), 2, 8, 4, rotary={"rope_type": "dynamic"}),))
    with pytest.raises(UnsupportedRotary, match="dynamic"):
        Profile(spec, (), (), PROFILE.tables, {})


def test_a_basis_makes_components_uncorrelated_and_errors_equally_bad():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4000, 6, generator=generator) @ torch.randn(6, 6, generator=generator)
    gradients = torch.randn(4000, 6, generator=generator) @ torch.randn(6, 6, generator=generator)
    moments = Moments.zero(6)
    moments.add(x, gradients)
    basis = fit_basis(moments, shrinkage=1e-3)
    z = (x.numpy() - basis.mean) @ basis.analysis
    np.testing.assert_allclose(
        np.cov(z.T, bias=True), np.diag(basis.deviations**2), atol=2e-2 * basis.deviations[0] ** 2
    )
    cost = basis.synthesis @ moments.sensitivity.numpy() @ basis.synthesis.T
    np.testing.assert_allclose(cost, np.eye(6), atol=2e-2)


def test_a_layer_nothing_depends_on_has_a_basis():
    moments = Moments.zero(3)
    moments.add(torch.randn(20, 3), torch.zeros(20, 3))
    basis = fit_basis(moments, shrinkage=0.3)
    assert np.isfinite(basis.analysis).all()
