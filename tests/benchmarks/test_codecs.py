"""How a benchmark is told which codecs to try, and with which profiles."""

from dataclasses import replace

import pytest

from benchmarks.codecs import codec_named, codecs_named, profiles_from, qualities_of
from codec import CorruptFrame, MissingProfile, UnknownCodec
from tests.codec.calibrated import STEP, profile_for
from tests.kv import SPEC

PROFILE = profile_for(SPEC)


def test_a_codec_is_named_with_its_parameters():
    assert codec_named("cachegen:level=low").params() == {"level": "low"}
    assert codec_named("lossless").params() == {}


@pytest.mark.parametrize(
    ("name", "error"), [("cachegen:level=3", CorruptFrame), ("none", UnknownCodec), ("transform", MissingProfile)]
)
def test_a_codec_or_parameter_there_is_not_is_an_error(name, error):
    with pytest.raises(error):
        codec_named(name)


@pytest.mark.parametrize(("quality", "means"), [("high", "high"), ("0.004", 0.004), ("2", 2.0)])
def test_transform_is_given_the_profile_and_a_level_or_a_step(quality, means, tmp_path):
    PROFILE.save(tmp_path / "mine.profile")
    codecs = codecs_named([f"transform:quality={quality}", "int8"], profiles_from([tmp_path / "mine.profile"]))
    assert list(codecs) == [f"transform:quality={quality}", "int8"]
    expected = {"profile": PROFILE.fingerprint, "quality": means}
    assert codecs[f"transform:quality={quality}"].params() == expected


def test_several_profiles_become_part_of_the_names():
    codecs = codecs_named(["transform", "transform:quality=high"], {"a": PROFILE, "b": PROFILE})
    assert list(codecs) == ["transform@a", "transform@b", "transform@a:quality=high", "transform@b:quality=high"]


def test_a_profiles_qualities_are_its_levels_and_steps_between_and_beyond():
    assert qualities_of(PROFILE) == [
        f"transform:quality={quality}" for quality in (0.0875, "high", STEP / 2, "balanced", 0.707, "small", 1.6)
    ]
    assert qualities_of(replace(PROFILE, levels={})) == []
