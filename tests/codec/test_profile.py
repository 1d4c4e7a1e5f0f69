"""Profiles: one checked file, named by its content; damage and strangers are refused."""

import numpy as np
import pytest
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
    Transform,
    UnsupportedRotary,
    encode_chunk,
)
from codec.band import BLOCKS
from tests.codec.calibrated import profile_for
from tests.codec.forge import ForgedFrame, forged
from tests.kv import SPEC, kv_of_numbers

PROFILE = profile_for(SPEC)


def test_a_saved_profile_comes_back_with_its_fingerprint(tmp_path):
    PROFILE.save(tmp_path / "profile")
    back = Profile.load(tmp_path / "profile")
    assert back.fingerprint == PROFILE.fingerprint
    assert back.levels == PROFILE.levels
    assert (back.spec, back.sinks) == (SPEC, PROFILE.sinks)
    assert (back.layers_together, back.blocks) == (PROFILE.layers_together, PROFILE.blocks)
    assert [(band.first, band.end) for band in back.bands] == [(0, 2), (2, 3)]
    assert np.array_equal(back.bands[1].bases[0].analysis, PROFILE.bands[1].bases[0].analysis)
    assert np.array_equal(back.bands[0].emphasis.weights, PROFILE.bands[0].emphasis.weights)
    assert [path.name for path in tmp_path.iterdir()] == ["profile"]


def test_other_tools_can_open_a_profile(tmp_path):
    PROFILE.save(tmp_path / "profile.safetensors")
    with safe_open(tmp_path / "profile.safetensors", "np") as opened:
        assert np.array_equal(opened.get_tensor("2.0.mean"), PROFILE.bands[1].bases[0].mean)


@pytest.mark.parametrize("blocks", BLOCKS)
def test_a_profile_has_a_basis_for_every_block(blocks):
    back = Profile.from_content(profile_for(SPEC, blocks).content)
    assert [len(band.bases) for band in back.bands] == {"band": [1, 1], "part": [4, 2], "head": [6, 4]}[blocks]


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
    (table,) = (section for section in frame.sections if section.name == "tables.symbols")
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
        '{"blocks":"band","layers_together":2,"levels":{},"sinks":-1}',
        '{"blocks":"band","layers_together":2,"levels":{},"sinks":1.0}',
        '{"blocks":"band","layers_together":0,"levels":{},"sinks":1}',
        '{"blocks":"band","layers_together":true,"levels":{},"sinks":1}',
        '{"blocks":"band","layers_together":1,"levels":{},"sinks":1}',
        '{"blocks":"layer","layers_together":2,"levels":{},"sinks":1}',
        '{"blocks":["band"],"layers_together":2,"levels":{},"sinks":1}',
        '{"blocks":"head","layers_together":2,"levels":{},"sinks":1}',
        '{"blocks":"band","layers_together":2,"levels":{"high":0.0},"sinks":1}',
        '{"blocks":"band","layers_together":2,"levels":{"high":NaN},"sinks":1}',
        '{"blocks":"band","layers_together":2,"levels":[],"sinks":1}',
        '{"blocks":"band","layers_together":2,"levels":{"high":1e999},"sinks":1}',
    ],
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(CorruptFrame):
        Profile.from_content(
            forged(PROFILE.content, lambda entries: entries["__metadata__"].update(codec_params=settings))
        )


@pytest.mark.parametrize("name", ["0.0.mean", "2.0.directions", "2.emphasis", "tables.side", "tables.symbols"])
def test_every_section_is_needed_in_its_shape(name):
    def flatten(entries):
        entries[name]["shape"] = [1, int(np.prod(entries[name]["shape"]))]

    with pytest.raises(CorruptFrame):
        Profile.from_content(forged(PROFILE.content, flatten))


@pytest.mark.parametrize("name", ["0.0.mean", "0.0.gains", "2.0.deviations", "2.emphasis"])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_no_calibration_gives_are_refused(name, number):
    with pytest.raises(CorruptFrame, match="calibration gives"):
        Profile.from_content(with_number(name, number))


def test_an_emphasis_beyond_all_measure_is_refused():
    with pytest.raises(CorruptFrame, match="calibration gives"):
        Profile.from_content(with_number("0.emphasis", 1e30))


def test_a_negative_deviation_is_refused():
    with pytest.raises(CorruptFrame, match="calibration gives"):
        Profile.from_content(with_number("0.0.deviations", -1.0))


def with_number(name, number):
    frame = ForgedFrame.opened(PROFILE.content)
    (section,) = (section for section in frame.sections if section.name == name)
    section.content = np.float32(number).tobytes() + section.content[4:]
    return frame.sealed()


def test_a_basis_without_an_inverse_codes_nothing():
    frame = ForgedFrame.opened(PROFILE.content)
    (section,) = (section for section in frame.sections if section.name == "0.0.directions")
    section.content = bytes(len(section.content))
    with pytest.raises(CorruptFrame, match="inverted"):
        encode_chunk(Transform(Profile.from_content(frame.sealed())), kv_of_numbers(SPEC, 5), "", 0)


def test_sections_there_twice_are_refused():
    frame = ForgedFrame.opened(PROFILE.content)
    frame.sections.append(frame.sections[0])
    with pytest.raises(CorruptFrame):
        Profile.from_content(frame.sealed())


def test_one_band_may_be_wider_than_the_model():
    back = Profile.from_content(profile_for(SPEC, layers_together=1 << 40).content)
    assert [(band.first, band.end) for band in back.bands] == [(0, 3)]


def test_another_models_layers_are_a_mismatch():
    with pytest.raises(SpecMismatch, match="tests/other"):
        PROFILE.require(KVSpec("tests/other", "r", "bfloat16", (SPEC.groups[0], LayerGroup((1,), 1, 6, 6))))


def test_keys_that_cannot_be_moved_have_no_profile():
    spec = KVSpec("m", "r", "bfloat16", (LayerGroup((0,), 2, 8, 4, rotary={"rope_type": "dynamic"}),))
    with pytest.raises(UnsupportedRotary, match="dynamic"):
        Profile(spec, (), 1, "band", PROFILE.tables, {})
